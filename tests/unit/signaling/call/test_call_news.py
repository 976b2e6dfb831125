"""What a seat hears late is what it would have heard in time."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.effects import Send, SendIceServers
from signaling.call.news import news
from signaling.call.record import Call
from signaling.call.rules import receive
from signaling.call.states import SEATS, EndReason, Seat, State
from signaling.protocol.messages import call as wire
from tests.unit.signaling.call.conversation import Conversation
from tests.unit.signaling.call.random_steps import Step, proceed, starts, steps, thorough


def in_time(effects: Any, seat: Seat) -> list[str]:
    """What the rules told a seat, in no order."""
    return sorted(
        repr(effect)
        for effect in effects
        if isinstance(effect, Send | SendIceServers) and effect.seat == seat
    )


def late(before: Call, after: Call, seat: Seat) -> list[str]:
    return sorted(map(repr, news(before, after, seat)))


@thorough
@given(starts, steps)
def test_of_one_change_a_seat_hears_late_what_it_would_have_heard_in_time(
    talk: Conversation, script: list[Step]
) -> None:
    """Whatever happened: each message that the rules told follows from the two records, and no other does."""
    for step in script:
        before, known = talk.call, len(talk.done)
        proceed(talk, step)
        for seat in SEATS:
            assert late(before, talk.call, seat) == in_time(talk.done[known:], seat)


@thorough
@given(starts, steps, st.integers(0, 30))
def test_of_many_changes_a_seat_hears_what_still_counts(
    talk: Conversation, script: list[Step], first: int
) -> None:
    """The end once, what is allowed as it stands, each question that is open; never a word after the end."""
    for step in script[:first]:
        proceed(talk, step)
    before, done = talk.call, len(talk.done)
    for step in script[first:]:
        proceed(talk, step)
    after = talk.call
    for seat in SEATS:
        told = [effect.message for effect in news(before, after, seat) if isinstance(effect, Send)]
        ends = [message for message in told if isinstance(message, wire.CallEnded)]
        would = [
            effect.message
            for effect in talk.done[done:]
            if isinstance(effect, Send) and effect.seat == seat and isinstance(effect.message, wire.CallEnded)
        ]

        assert ends == would
        assert not ends or told[-1] is ends[0]
        if after.state not in (State.DECIDING, State.ENDED):
            flags = [m for m in told if isinstance(m, wire.VideoAllowed | wire.VideoRevoked)]
            if flags:
                assert flags[-1].video_allowed == wire.SeatFlags(
                    a=after.a.video_allowed, b=after.b.video_allowed
                )
            else:
                assert all(after.seat(s).video_allowed == before.seat(s).video_allowed for s in SEATS)


def test_a_revocation_is_told_though_video_was_allowed_again_meanwhile() -> None:
    """Both are told in their order: cameras that went on are cameras that somebody turned on anew."""
    talk = Conversation.live()
    talk.does(events.VideoApproved("a", "both"))
    before = talk.call
    talk.later(1).does(events.VideoRevoked("a"))
    talk.later(1).does(events.VideoApproved("a", "receive"))

    told = [effect.message for effect in news(before, talk.call, "b") if isinstance(effect, Send)]

    assert [type(message) for message in told] == [wire.VideoRevoked, wire.VideoAllowed]
    assert told[0].video_allowed == wire.SeatFlags(a=False, b=False)
    assert told[1].video_allowed == wire.SeatFlags(a=False, b=True)


def test_a_log_of_another_past_is_told_by_what_stands_now() -> None:
    """After a loss the record may have another log: what is off is told as revoked."""
    talk = Conversation.live()
    talk.does(events.VideoApproved("a", "both"))
    before = talk.call
    off = msgspec.structs.replace(talk.call.a, video_allowed=False)
    other_past = msgspec.structs.replace(talk.call, version=9, events=(), a=off)

    [told] = news(before, other_past, "b")

    assert told == Send(
        "b", wire.VideoRevoked(call_id=before.call_id, video_allowed=wire.SeatFlags(a=False, b=True))
    )


def test_a_guest_learns_late_for_which_reason_media_was_over() -> None:
    """While she still decides, and after she has: the reason is the one of his end, not of hers."""
    talk = Conversation.live(after=60)
    before = talk.call
    deciding = receive(before, events.HungUp("b"), talk.now_ms).call
    over = receive(deciding, events.ConnectPassed("a"), talk.now_ms + 5).call

    for after in (deciding, over):
        [told] = news(before, after, "b")
        assert isinstance(told, Send)
        assert isinstance(told.message, wire.CallEnded)
        assert told.message.reason == EndReason.HANGUP
    assert over.reason is EndReason.COMPLETED


def test_whoever_knew_the_end_hears_nothing_more() -> None:
    """Facts that are added to a record after its end are nobody's news."""
    talk = Conversation.ended()
    refused = events.RelayRefused("a", ErrorCode.SDP_INVALID)
    after = receive(talk.call, refused, talk.now_ms).call

    assert after is not talk.call
    assert news(talk.call, after, "a") == news(talk.call, after, "b") == []
