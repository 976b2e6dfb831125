"""Time: that nothing waits for ever, and that timers fire when due, in order, and never early."""

import pytest

from signaling.call import events
from signaling.call.states import EndReason, State
from signaling.protocol.messages.call import VideoDenied
from tests.unit.signaling.call.conversation import Conversation, wants_connection

STATES = ["proposed", "connecting", "live", "reconnecting", "deciding"]


@pytest.mark.parametrize("state", STATES)
def test_every_state_but_ended_has_a_deadline(state: str) -> None:
    """So that nobody waits for ever."""
    assert getattr(Conversation, state)().call.next_deadline_at is not None


def test_an_ended_call_has_no_timer() -> None:
    """Also where a clock had been set."""
    assert Conversation.ended().call.ends_at is not None
    assert Conversation.ended().call.next_deadline_at is None


@pytest.mark.parametrize("state", STATES)
def test_an_early_timer_means_nothing(state: str) -> None:
    """A millisecond early is early."""
    talk = getattr(Conversation, state)()
    deadline_at = talk.call.next_deadline_at

    talk.now_ms = deadline_at - 1
    assert talk.ignores(events.TimerFired())
    talk.now_ms = deadline_at
    assert not talk.ignores(events.TimerFired())


def test_a_timer_of_an_ended_call_means_nothing() -> None:
    """However late."""
    assert Conversation.ended().later(9999).ignores(events.TimerFired())


def test_the_earliest_of_all_timers_is_the_next() -> None:
    """Requests, the revocation's window, the state and the clock compete."""
    talk = Conversation.live(after=150)
    talk.does(events.ExtensionRequested("a"))
    assert talk.call.next_deadline_at == talk.now_ms + 15_000
    talk.does(events.VideoApproved("a", "both"))
    talk.does(events.VideoRevoked("a"))
    assert talk.call.next_deadline_at == talk.now_ms + 5_000
    talk.does(events.VideoStopped())
    assert talk.call.next_deadline_at == talk.now_ms + 15_000
    talk.does(events.ExtensionAnswered("b", accept=False))

    assert talk.call.next_deadline_at == talk.call.ends_at


def test_timers_that_are_overdue_fire_in_the_order_of_their_moments() -> None:
    """A node was away: the request ran out before the clock did, and both are told so."""
    talk = Conversation.live(after=150)
    talk.does(events.VideoRequested("b"))

    talk.later(40).does(events.TimerFired())

    assert [message.reason for message in talk.told("b", VideoDenied)] == ["timeout"]
    assert talk.state() is State.DECIDING


def test_a_revocation_that_was_due_before_the_clock_ends_the_call_its_way() -> None:
    """Firing late does not launder it."""
    talk = Conversation.live(after=170)
    talk.does(events.VideoApproved("a", "both"))
    talk.does(events.VideoRevoked("a"))

    talk.later(60).does(events.TimerFired())

    assert talk.call.reason is EndReason.VIDEO_REVOKED


def test_a_late_clock_still_leaves_time_to_decide() -> None:
    """What a timer starts counts from when people are told."""
    talk = Conversation.live()

    talk.later(400).does(events.TimerFired())

    assert talk.state() is State.DECIDING
    assert talk.call.next_deadline_at == talk.now_ms + 30_000


def test_clock_and_reconnecting_at_one_moment_count_as_the_clock() -> None:
    """The call had its full time: it is decided about, not lost."""
    talk = Conversation.live(call_seconds=20, decide_after_s=30, reconnecting_s=5, after=15)
    talk.does(events.MediaDisconnected("a"))
    assert talk.call.deadline_at == talk.call.ends_at

    talk.passes(5)

    assert talk.state() is State.DECIDING


def test_cooldown_and_connected_calls_need_no_timer_of_their_own() -> None:
    """Nothing happens when a cooldown passes, so the index need not know it."""
    talk = Conversation.live(after=100)
    talk.does(events.VideoRequested("b"))
    talk.does(events.VideoDenied("a"))
    talk.does(wants_connection("a"))

    assert talk.call.next_deadline_at == talk.call.ends_at


def test_durations_too_small_to_count_are_a_millisecond() -> None:
    """A timer is never due as it is set."""
    talk = Conversation.live(deciding_s=0.0001).passes(180)
    assert talk.call.next_deadline_at == talk.now_ms + 1
    talk.passes(0.001)

    assert talk.state() is State.ENDED
    assert talk.call.reason is EndReason.COMPLETED
