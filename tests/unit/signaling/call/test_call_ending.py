"""How calls end: hanging up, blocking, moderation; who goes back, and what is told."""

import pytest

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.effects import (
    CloseMedia,
    Effect,
    OpenConnection,
    ReleaseTicket,
    RememberPartners,
    ReturnTicket,
    Send,
)
from signaling.call.states import EndReason, Seat, State
from signaling.protocol.messages.call import CallEnded, ConnectPrompt
from tests.unit.signaling.call.conversation import Conversation, session_ended, wants_connection


@pytest.mark.parametrize(
    "event", [events.HungUp("a"), events.HungUp("b"), session_ended("a"), session_ended("b")]
)
def test_hanging_up_early_ends_the_call(event: events.Event) -> None:
    """Under 30 s nothing has been there to decide about; nobody goes back by itself."""
    talk = Conversation.live(after=29.999)

    talk.does(event)

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.HANGUP)
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("a"), ReleaseTicket("b")]
    assert talk.effects(ReturnTicket) == []


@pytest.mark.parametrize(
    "event", [events.HungUp("a"), events.HungUp("b"), session_ended("a"), session_ended("b")]
)
def test_hanging_up_after_a_real_talk_lets_her_decide(event: events.Event) -> None:
    """From 30 s on, whoever hung up."""
    talk = Conversation.live(after=30)

    talk.does(event)

    assert talk.state() is State.DECIDING
    assert [message.reason for message in talk.told("b", CallEnded)] == ["hangup"]
    assert len(talk.told("a", ConnectPrompt)) == 1


def test_how_long_is_enough_is_the_policys_word() -> None:
    """Zero: every call is decided about."""
    talk = Conversation.live(decide_after_s=0)

    talk.does(events.HungUp("b"))

    assert talk.state() is State.DECIDING


def test_a_short_clock_is_decided_about_however_short() -> None:
    """The clock's end is the call as it was meant."""
    talk = Conversation.live(call_seconds=3).passes(3)

    assert talk.state() is State.DECIDING


def test_hanging_up_while_reconnecting_is_hanging_up() -> None:
    """As in `live`."""
    talk = Conversation.reconnecting(after=5)
    talk.does(events.HungUp("a"))
    assert talk.call.reason is EndReason.HANGUP

    talk = Conversation.reconnecting(after=60)
    talk.does(events.HungUp("a"))
    assert talk.state() is State.DECIDING


def test_the_duration_is_the_time_they_could_talk() -> None:
    """From the clock's start to the end of media; deciding does not count."""
    talk = Conversation.live(after=100)
    talk.does(events.HungUp("b"))
    talk.later(20).does(wants_connection("a"))

    assert talk.call.duration_ms == 100_000
    assert talk.told("a", CallEnded)[0].duration_ms == 100_000
    assert talk.told("b", CallEnded)[0].duration_ms == 100_000


def test_a_call_that_was_never_live_lasted_nothing() -> None:
    """0 ms."""
    talk = Conversation.connecting().later(7)

    talk.does(events.HungUp("a"))

    assert talk.told("b", CallEnded)[0].duration_ms == 0


def test_after_the_end_everything_is_refused() -> None:
    """`call_ended`, whoever asks for what."""
    talk = Conversation.ended()

    for seat in ("a", "b"):
        for event in (
            events.Accepted(seat),
            events.Declined(seat),
            events.HungUp(seat),
            events.MediaConnected(seat, answer_relayed=True),
            events.VideoRequested(seat),
            events.VideoApproved(seat, "both"),
            events.VideoRevoked(seat),
            events.ExtensionRequested(seat),
            events.ConnectPassed(seat),
            wants_connection(seat),
        ):
            assert talk.is_refused(event) is ErrorCode.CALL_ENDED


# --- blocking ---


@pytest.mark.parametrize("seat", ["a", "b"])
@pytest.mark.parametrize("state", ["live", "reconnecting"])
def test_a_block_ends_the_call_for_both_with_nothing_to_decide(state: str, seat: Seat) -> None:
    """However long they talked; the reason says no more than `hangup`, to either."""
    talk = getattr(Conversation, state)(after=100)

    talk.does(events.Blocked(seat))

    assert talk.state() is State.ENDED
    for each in ("a", "b"):
        assert [message.reason for message in talk.told(each, CallEnded)] == ["hangup"]
    assert talk.told("a", ConnectPrompt) == []
    assert talk.effects(ReturnTicket) == []


@pytest.mark.parametrize("state", ["proposed", "connecting"])
def test_who_was_blocked_before_any_talk_goes_back_to_the_queue(state: str) -> None:
    """As anybody whose partner left: being sent away would tell him more."""
    talk = getattr(Conversation, state)()

    talk.does(events.Blocked("a"))

    assert talk.call.reason is EndReason.HANGUP
    assert talk.effects(ReturnTicket) == [ReturnTicket("b")]
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("a")]


def test_a_guest_who_blocks_while_she_decides_is_safe_from_a_connection() -> None:
    """For him the call was over, but blocking is always possible, and ends it for her."""
    talk = Conversation.deciding()

    talk.does(events.Blocked("b"))

    assert talk.state() is State.ENDED
    assert [message.reason for message in talk.told("a", CallEnded)] == ["hangup"]
    assert talk.told("b", CallEnded) == []
    assert talk.is_refused(wants_connection("a")) is ErrorCode.CALL_ENDED


def test_blocking_after_the_end_is_fine() -> None:
    """The call has nothing to add."""
    talk = Conversation.ended()

    assert talk.ignores(events.Blocked("a"))
    assert talk.ignores(events.Blocked("b"))


# --- the server ends it ---


@pytest.mark.parametrize("state", ["proposed", "connecting", "live", "reconnecting", "deciding"])
def test_moderation_ends_any_call(state: str) -> None:
    """With its own reason."""
    talk = getattr(Conversation, state)()

    talk.does(events.Moderated("b"))

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.MODERATION)


def test_moderation_of_one_sends_the_other_back_if_nobody_has_talked() -> None:
    """About neither: both go back."""
    talk = Conversation.proposed()
    talk.does(events.Moderated("b"))
    assert talk.effects(ReturnTicket) == [ReturnTicket("a")]

    talk = Conversation.proposed()
    talk.does(events.Moderated())
    assert talk.effects(ReturnTicket) == [ReturnTicket("a"), ReturnTicket("b")]


def test_a_spent_signaling_budget_ends_the_call() -> None:
    """Closing the socket would only make the client come back into the same budget."""
    talk = Conversation.live(after=100)

    talk.does(events.SignalingLimitReached("a"))

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.SIGNALING_LIMIT)
    assert Conversation.ended().ignores(events.SignalingLimitReached("a"))


# --- what follows an end ---


def test_what_follows_an_end_is_done_in_order() -> None:
    """Media first; both kept apart before they may queue; each free to queue before hearing of it."""
    talk = Conversation.live()

    talk.does(events.HungUp("a"))

    told = CallEnded(call_id=talk.call.call_id, reason="hangup", duration_ms=0, requeued=False)
    expected: list[Effect] = [
        CloseMedia(),
        RememberPartners(),
        ReleaseTicket("a"),
        Send("a", told),
        ReleaseTicket("b"),
        Send("b", told),
    ]
    assert talk.done == expected


def test_who_goes_back_hears_of_the_end_before_the_ticket_waits_again() -> None:
    """Or the next match could be told before the end of this one."""
    talk = Conversation.proposed()

    talk.does(events.Declined("a"))

    told = CallEnded(call_id=talk.call.call_id, reason="declined", duration_ms=0, requeued=True)
    assert talk.done[-2:] == [Send("b", told), ReturnTicket("b")]


def test_media_is_closed_once() -> None:
    """On entering `deciding`; the end adds nothing, and partners are remembered once."""
    talk = Conversation.live().passes(210)

    assert talk.state() is State.ENDED
    assert talk.effects(CloseMedia) == [CloseMedia()]
    assert talk.effects(RememberPartners) == [RememberPartners()]


def test_a_proposal_has_no_media_to_close() -> None:
    """Nothing was relayed."""
    talk = Conversation.proposed()

    talk.does(events.Declined("a"))

    assert talk.effects(CloseMedia) == []


def test_a_connection_made_while_talking_is_opened_once() -> None:
    """Not again at the end."""
    talk = Conversation.live()
    talk.does(wants_connection("a"))
    talk.passes(180)

    assert len(talk.effects(OpenConnection)) == 1


@pytest.mark.parametrize("state", ["proposed", "connecting", "live", "reconnecting"])
def test_nobody_queues_out_of_a_call_under_way(state: str) -> None:
    """`in_call`: end the call first."""
    assert getattr(Conversation, state)().is_refused(events.QueueJoined("a")) is ErrorCode.IN_CALL


def test_queueing_after_the_end_needs_nothing_of_the_call() -> None:
    """Whatever still points at it is out of date."""
    assert Conversation.ended().ignores(events.QueueJoined("a"))


def test_whoever_ended_their_session_is_shown_as_gone() -> None:
    """To her who decides, and by then nobody claims media any more."""
    talk = Conversation.live(after=60)

    talk.does(session_ended("b"))

    assert (talk.a.attached, talk.b.attached) == (True, False)
    assert (talk.a.media_connected, talk.b.media_connected) == (False, False)
