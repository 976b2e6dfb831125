"""Consent to video: who may open it, how it is asked for, and that taking it back always works."""

from typing import Literal

import pytest

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.change import MAX_CONSENT_EVENTS, CallRefused
from signaling.call.record import ConsentEvent, ConsentKind
from signaling.call.states import EndReason, Seat, State
from signaling.protocol.messages.call import (
    SeatFlags,
    VideoAllowed,
    VideoDenied,
    VideoRequested,
    VideoRevoked,
)
from tests.unit.signaling.call.conversation import Conversation, detached
from tests.unit.signaling.call.video_words import allowed, approve, ask, deny, revoke

# --- asking ---


def test_the_guest_asks_and_the_controller_hears_until_when_it_stands() -> None:
    """Pending for 20 s; nothing is allowed yet."""
    talk = Conversation.live()

    reply = talk.does(ask("b")).reply

    until_at = talk.now_ms + 20_000
    assert talk.told("a", VideoRequested) == [VideoRequested(call_id=talk.call.call_id, until_at=until_at)]
    assert talk.told("b", VideoRequested) == []
    assert reply == {"until_at": until_at}
    assert allowed(talk) == (False, False)


def test_the_controller_does_not_ask() -> None:
    """She decides."""
    assert Conversation.live().is_refused(ask("a")) is ErrorCode.FORBIDDEN_ROLE


@pytest.mark.parametrize("event", [approve("b"), deny("b")])
def test_the_guest_does_not_decide(event: events.Event) -> None:
    """Neither about his own request nor without one."""
    talk = Conversation.live()
    talk.does(ask("b"))

    assert talk.is_refused(event) is ErrorCode.FORBIDDEN_ROLE


def test_one_request_at_a_time() -> None:
    """While one is pending a second is refused."""
    talk = Conversation.live()
    talk.does(ask("b"))

    assert talk.is_refused(ask("b")) is ErrorCode.ALREADY_REQUESTED


def test_who_may_send_already_need_not_ask() -> None:
    """Also where only he may: she chose so, and is not asked again."""
    for direction in ("both", "receive"):
        talk = Conversation.live()
        talk.does(events.VideoApproved("a", direction))

        assert talk.is_refused(ask("b")) is ErrorCode.ALREADY_ALLOWED


def test_after_a_denial_asking_has_to_wait() -> None:
    """60 s, with the rest of the wait told."""
    talk = Conversation.live()
    talk.does(ask("b"))
    talk.does(deny("a"))
    talk.later(20)

    refusal = talk.refusal(ask("b"))

    assert refusal.code is ErrorCode.COOLDOWN
    assert refusal.retry_after_ms == 40_000
    talk.later(40).does(ask("b"))
    assert talk.call.video_request is not None


def test_a_third_request_is_one_too_many() -> None:
    """However the first two went; nor is a wait told after which nothing comes."""
    talk = Conversation.live()
    for _ in range(2):
        talk.later(60).does(ask("b"))
        talk.does(deny("a"))

    assert talk.is_refused(ask("b")) is ErrorCode.LIMIT_REACHED


def test_a_request_that_runs_out_counts_as_a_denial() -> None:
    """`video.denied {reason: timeout}` to whoever asked, and the cooldown."""
    talk = Conversation.live()
    talk.does(ask("b"))

    talk.passes(20)

    assert [message.reason for message in talk.told("b", VideoDenied)] == ["timeout"]
    assert talk.told("a", VideoDenied) == []
    assert talk.is_refused(ask("b")) is ErrorCode.COOLDOWN
    assert talk.call.events[-1] == ConsentEvent(
        at=talk.now_ms, kind=ConsentKind.VIDEO_DENIED, by=None, reason="timeout"
    )


def test_denying_closes_the_request() -> None:
    """Only who asked is told; a second denial finds nothing."""
    talk = Conversation.live()
    talk.does(ask("b"))

    talk.does(deny("a"))

    assert [message.reason for message in talk.told("b", VideoDenied)] == ["denied"]
    assert talk.is_refused(deny("a")) is ErrorCode.NO_PENDING_REQUEST


def test_denying_what_has_just_run_out_is_too_late() -> None:
    """Also before the timer has fired."""
    talk = Conversation.live()
    talk.does(ask("b"))

    assert talk.later(20).is_refused(deny("a")) is ErrorCode.NO_PENDING_REQUEST


# --- opening ---


@pytest.mark.parametrize(("direction", "expected"), [("both", (True, True)), ("receive", (False, True))])
def test_the_controller_opens_video_as_she_names_it(
    direction: Literal["both", "receive"], expected: tuple[bool, bool]
) -> None:
    """`receive`: she sees him, he does not see her. Both are told alike."""
    talk = Conversation.live()
    talk.does(ask("b"))

    talk.does(approve("a", direction))

    assert allowed(talk) == expected
    assert talk.call.video_request is None
    told = VideoAllowed(call_id=talk.call.call_id, video_allowed=SeatFlags(a=expected[0], b=expected[1]))
    assert talk.told("a", VideoAllowed) == talk.told("b", VideoAllowed) == [told]


def test_an_approval_without_a_request_is_an_invitation() -> None:
    """She needs not be asked."""
    talk = Conversation.live()

    talk.does(approve("a"))

    assert allowed(talk) == (True, True)


def test_approving_what_is_allowed_already_changes_nothing() -> None:
    """A retry is `ok`, also while reconnecting."""
    talk = Conversation.live()
    talk.does(approve("a"))

    assert talk.ignores(approve("a"))
    talk.does(events.MediaDisconnected("b"))
    assert talk.ignores(approve("a"))


def test_video_opened_too_often_stays_closed() -> None:
    """The consent log is bounded; what is open can still be taken back."""
    talk = Conversation.live()
    for _ in range(MAX_CONSENT_EVENTS):
        try:
            talk.does(approve("a"))
        except CallRefused:
            break
        talk.does(revoke("b"))
    else:
        pytest.fail("video could be opened without end")

    assert talk.is_refused(approve("a")) is ErrorCode.LIMIT_REACHED
    assert len(talk.call.events) <= MAX_CONSENT_EVENTS


# --- taking back ---


@pytest.mark.parametrize("seat", ["a", "b"])
def test_either_takes_video_back_at_once(seat: Seat) -> None:
    """Both directions are forbidden, both are told, and 5 s remain for it to be off."""
    talk = Conversation.live()
    talk.does(approve("a"))

    talk.does(revoke(seat))

    assert allowed(talk) == (False, False)
    assert talk.call.next_deadline_at == talk.now_ms + 5_000
    gone = VideoRevoked(call_id=talk.call.call_id, video_allowed=SeatFlags(a=False, b=False))
    assert talk.told("a", VideoRevoked) == talk.told("b", VideoRevoked) == [gone]


def test_taking_back_nothing_is_fine() -> None:
    """Nothing allowed: `ok`, and no window."""
    talk = Conversation.live()

    assert talk.ignores(revoke("a"))
    assert talk.ignores(revoke("b"))


def test_only_a_relayed_answer_without_that_video_closes_the_window() -> None:
    """Then the call goes on."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(revoke("a"))

    talk.later(4).does(events.VideoStopped())

    assert talk.passes(60).state() is State.LIVE


def test_video_that_is_not_off_in_time_ends_the_call() -> None:
    """`video_revoked`, with nothing to decide, however long they talked."""
    talk = Conversation.live(after=100)
    talk.does(approve("a"))
    talk.does(revoke("a"))

    talk.passes(5)

    assert talk.state() is State.ENDED
    assert talk.call.reason is EndReason.VIDEO_REVOKED


def test_the_window_runs_while_reconnecting_too() -> None:
    """Losing the network is no way around a revocation."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(detached("b"))

    talk.does(revoke("a"))
    talk.passes(5)

    assert talk.call.reason is EndReason.VIDEO_REVOKED


def test_receive_after_both_takes_back_her_own_sending() -> None:
    """A narrowing is a revocation of one direction, with the same window; his video may go on."""
    talk = Conversation.live()
    talk.does(approve("a"))

    talk.does(approve("a", "receive"))

    assert allowed(talk) == (False, True)
    assert (talk.a.video_off_at, talk.b.video_off_at) == (talk.now_ms + 5_000, None)
    assert len(talk.told("b", VideoRevoked)) == 1
    talk.does(events.VideoStopped(("a",)))
    assert talk.passes(60).state() is State.LIVE


def test_narrowing_works_while_reconnecting() -> None:
    """What restricts is not put off."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(events.MediaDisconnected("b"))

    talk.does(approve("a", "receive"))

    assert allowed(talk) == (False, True)


def test_an_answer_that_still_has_one_sides_video_does_not_close_the_window() -> None:
    """Each sender's video has a window of its own."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(revoke("b"))

    talk.does(events.VideoStopped(("a",)))

    assert talk.passes(5).call.reason is EndReason.VIDEO_REVOKED


def test_a_second_revocation_does_not_prolong_the_first_window() -> None:
    """Her narrowing first, his revocation 3 s later: her video has 2 s left."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(approve("a", "receive"))
    first = talk.call.next_deadline_at

    talk.later(3).does(revoke("b"))

    assert talk.call.next_deadline_at == first


def test_allowing_again_closes_the_window() -> None:
    """What is allowed need not be off."""
    talk = Conversation.live()
    talk.does(approve("a"))
    talk.does(revoke("a"))

    talk.later(2).does(approve("a"))

    assert talk.passes(10).state() is State.LIVE


def test_the_end_of_the_call_ends_every_permission() -> None:
    """Nothing is allowed, asked or awaited once media is over."""
    talk = Conversation.live(after=170)
    talk.does(approve("a", "receive"))
    talk.does(revoke("a"))
    talk.does(events.HungUp("a"))

    assert allowed(talk) == (False, False)
    assert talk.state() is State.DECIDING
    assert talk.call.next_deadline_at == talk.call.deadline_at


# --- reconnecting ---


def test_video_is_not_opened_while_one_side_is_away() -> None:
    """`peer_reconnecting`, for asking and for opening."""
    talk = Conversation.live()
    talk.does(ask("b"))
    talk.does(detached("b"))

    assert talk.is_refused(approve("a")) is ErrorCode.PEER_RECONNECTING
    assert Conversation.reconnecting().is_refused(ask("b")) is ErrorCode.PEER_RECONNECTING


def test_a_request_can_be_denied_while_one_side_is_away() -> None:
    """Saying no does not wait for the network."""
    talk = Conversation.live()
    talk.does(ask("b"))
    talk.does(detached("b"))

    talk.does(deny("a"))

    assert talk.call.video_request is None


# --- the log ---


def test_the_consent_log_says_who_did_what_when() -> None:
    """Asked, allowed and revoked per sender, in order."""
    talk = Conversation.live()
    talk.does(ask("b"))
    asked_at = talk.now_ms
    talk.later(1).does(approve("a", "receive"))
    talk.later(1).does(revoke("b"))

    assert talk.call.events == (
        ConsentEvent(at=asked_at, kind=ConsentKind.VIDEO_ASKED, by="b"),
        ConsentEvent(
            at=asked_at + 1000, kind=ConsentKind.VIDEO_ALLOWED, by="a", sender="b", direction="receive"
        ),
        ConsentEvent(at=asked_at + 2000, kind=ConsentKind.VIDEO_REVOKED, by="b", sender="b"),
    )


@pytest.mark.parametrize("state", ["proposed", "connecting", "deciding"])
@pytest.mark.parametrize("event", [approve("a"), deny("a"), revoke("a")])
def test_video_belongs_to_a_call_that_is_talking(state: str, event: events.Event) -> None:
    """Elsewhere there is none to decide about."""
    assert getattr(Conversation, state)().is_refused(event) is ErrorCode.BAD_STATE
