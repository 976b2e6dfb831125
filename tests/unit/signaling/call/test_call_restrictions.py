"""What a node holds itself to before a change is stored."""

import pytest

from signaling.call import events
from signaling.call.change import CallRefused
from signaling.call.rules import check_relay, restrict, restricts
from signaling.call.states import State
from tests.unit.signaling.call.conversation import Conversation, session_ended, wants_connection


def with_video() -> Conversation:
    talk = Conversation.live(after=60)
    talk.does(events.VideoApproved("a", "both"))
    return talk


def test_a_revocation_binds_before_it_is_stored() -> None:
    """Neither may send any more; the version is still that of the store."""
    talk = with_video()

    view = restrict(talk.call, events.VideoRevoked("b"), talk.now_ms)

    assert (view.a.video_allowed, view.b.video_allowed) == (False, False)
    assert view.version == talk.call.version


def test_a_narrowing_binds_in_the_direction_it_names() -> None:
    """`receive` after `both`: hers is off at once."""
    talk = with_video()

    view = restrict(talk.call, events.VideoApproved("a", "receive"), talk.now_ms)

    assert (view.a.video_allowed, view.b.video_allowed) == (False, True)


def test_a_permission_does_not_bind_before_it_is_stored() -> None:
    """Else a lost race would have let video through that nobody allowed. The very record says: nothing to hold to."""
    talk = Conversation.live()

    assert restrict(talk.call, events.VideoApproved("a", "both"), talk.now_ms) is talk.call
    assert restrict(talk.call, wants_connection("a"), talk.now_ms) is talk.call


def test_an_approval_that_gives_and_takes_waits_as_a_whole() -> None:
    """Mutual: `b` opens for itself what `a` closes. Half of it told early would be told wrongly."""
    talk = Conversation.live(mutual=True)
    talk.does(events.VideoRequested("a"))
    talk.does(events.VideoApproved("b", "receive"))
    talk.does(events.VideoRequested("b"))
    swap = events.VideoApproved("a", "receive")

    assert not restricts(talk.call, swap)
    assert restrict(talk.call, swap, talk.now_ms) is talk.call


def test_a_revocation_holds_against_a_yes_to_the_own_request() -> None:
    """With nothing allowed yet, what is taken back is the question."""
    talk = Conversation.live(mutual=True)
    talk.does(events.VideoRequested("a"))

    assert restrict(talk.call, events.VideoRevoked("a"), talk.now_ms).video_request is None
    assert restrict(talk.call, events.VideoRevoked("b"), talk.now_ms) is talk.call


def test_what_can_wait_for_the_store_does() -> None:
    """A lapsed request, a wish taken back, an early timer, a decision about what is over."""
    asked = Conversation.live()
    asked.does(events.ExtensionRequested("a"))
    wished = Conversation.live(mutual=True)
    wished.does(wants_connection("a"))
    ended = Conversation.ended()

    assert restrict(asked.call, events.TimerFired(), asked.now_ms) is asked.call
    assert restrict(asked.call, events.TimerFired(), asked.now_ms + 15_000) is asked.call
    assert restrict(wished.call, events.ConnectPassed("a"), wished.now_ms) is wished.call
    assert restrict(ended.call, events.Blocked("a"), ended.now_ms) is ended.call


@pytest.mark.parametrize(
    "event", [events.HungUp("a"), events.Blocked("b"), session_ended("b"), events.Moderated()]
)
def test_an_end_binds_before_it_is_stored(event: events.Event) -> None:
    """Nothing is relayed any more."""
    talk = with_video()

    view = restrict(talk.call, event, talk.now_ms)

    assert view.state in (State.DECIDING, State.ENDED)
    assert view.version == talk.call.version
    for seat in ("a", "b"):
        with pytest.raises(CallRefused):
            check_relay(view, seat)


def test_the_clocks_end_binds_before_it_is_stored() -> None:
    """Redis may be away at that very moment."""
    talk = with_video().later(120)

    assert restrict(talk.call, events.TimerFired(), talk.now_ms).state is State.DECIDING


def test_what_is_illegal_does_not_bind() -> None:
    """A guest's approval, a decline in a live call."""
    talk = with_video()

    assert restrict(talk.call, events.VideoApproved("b", "receive"), talk.now_ms) is talk.call
    assert restrict(talk.call, events.Declined("a"), talk.now_ms) is talk.call


def test_only_what_gives_nothing_may_be_told_before_it_is_stored() -> None:
    """An approval restricts where it narrows; one that opens anything has to wait for the commit."""
    both = with_video().call
    none = Conversation.live().call

    assert restricts(both, events.VideoApproved("a", "receive"))
    assert not restricts(none, events.VideoApproved("a", "receive"))
    assert not restricts(none, events.VideoApproved("a", "both"))
    assert not restricts(both, events.VideoApproved("a", "both"))
    assert restricts(both, events.VideoRevoked("a"))
    assert restricts(both, events.HungUp("b"))
    assert not restricts(both, wants_connection("a"))
    assert not restricts(both, events.ExtensionRequested("a"))
