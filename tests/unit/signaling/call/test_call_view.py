"""What each seat may see of a call."""

from signaling.call import events
from signaling.call.view import call_state, match_found, must_hear
from signaling.protocol.messages.call import CallState, PeerView, PendingView, SeatFlags
from tests.unit.signaling.call.conversation import (
    START_MS,
    Conversation,
    detached,
    wants_connection,
)


def test_a_view_has_the_peer_the_seat_and_the_times() -> None:
    """Live, video asked for: everything a client draws from."""
    talk = Conversation.live(after=10)
    talk.does(events.VideoRequested("b"))

    view = call_state(talk.call, "b", talk.now_ms)

    assert view == CallState(
        call_id=talk.call.call_id,
        intent="dating",
        version=talk.call.version,
        state="live",
        role="guest",
        seat="b",
        offerer=False,
        peer=PeerView(first_name="Ada", age=30, languages=["de", "en"], verified=True),
        peer_attached=True,
        video_allowed=SeatFlags(),
        pending=view.pending,
        connected=False,
        server_now=talk.now_ms,
        ends_at=START_MS + 180_000,
        deadline_at=START_MS + 180_000,
        extensions_left=2,
    )
    assert view.pending.video == PendingView(by="b", until_at=talk.now_ms + 20_000)
    assert view.pending.extend is None


def test_seat_a_offers() -> None:
    """In every mode."""
    call = Conversation.proposed(mutual=True).call

    assert call_state(call, "a", 0).offerer
    assert not call_state(call, "b", 0).offerer


def test_no_id_of_the_other_is_shown() -> None:
    """A stranger's id would outlive the call."""
    talk = Conversation.live()

    shown = repr(call_state(talk.call, "a", 0)) + repr(match_found(talk.call, "a", 0))

    for hidden in ("user-b", "device-b", "session-b", "node-b", "ticket-b"):
        assert hidden not in shown


def test_each_state_shows_the_deadline_that_ends_it() -> None:
    """The state's own timer; in `live` the clock; none at the end."""
    assert call_state(Conversation.proposed().call, "a", 0).deadline_at == START_MS + 10_000
    lost = Conversation.reconnecting(after=10)
    assert call_state(lost.call, "a", 0).deadline_at == lost.now_ms + 15_000
    assert call_state(lost.call, "a", 0).ends_at == START_MS + 180_000
    assert call_state(Conversation.ended().call, "a", 0).deadline_at is None


def test_the_peers_absence_is_shown() -> None:
    """So that the app can say why it is quiet."""
    talk = Conversation.live()
    talk.does(detached("b"))

    assert not call_state(talk.call, "a", 0).peer_attached
    assert call_state(talk.call, "b", 0).peer_attached


def test_extensions_left_are_counted_down() -> None:
    """Two, one, none."""
    talk = Conversation.live()
    for left in (1, 0):
        talk.does(events.ExtensionRequested("a"))
        talk.does(events.ExtensionRequested("b"))
        assert call_state(talk.call, "a", 0).extensions_left == left


def test_for_a_guest_the_call_has_ended_while_she_decides() -> None:
    """He sees neither that she decides nor until when."""
    call = Conversation.deciding().call

    assert call_state(call, "b", 0).state == "ended"
    assert call_state(call, "b", 0).deadline_at is None
    assert call_state(call, "a", 0).state == "deciding"
    assert call_state(call, "a", 0).deadline_at == START_MS + 210_000


def test_the_change_that_frees_a_seat_is_its_last() -> None:
    """The guest hears of the end, and of nothing after it."""
    talk = Conversation.live()
    live = talk.call
    deciding = talk.passes(180).call
    connected = talk.does(wants_connection("a")).call

    assert must_hear("b", live, deciding)
    assert not must_hear("b", deciding, connected)
    assert must_hear("a", deciding, connected)


def test_a_node_that_knew_nothing_tells_whomever_the_call_is_not_over_for() -> None:
    """The record came over the bus."""
    call = Conversation.deciding().call

    assert must_hear("a", None, call)
    assert not must_hear("b", None, call)


def test_nothing_is_told_of_no_change_nor_of_older_news() -> None:
    """Frames may overtake each other."""
    talk = Conversation.live()
    older = talk.call
    newer = talk.does(events.MediaDisconnected("a")).call

    assert not must_hear("a", newer, newer)
    assert not must_hear("a", newer, older)


def test_a_proposal_says_until_when() -> None:
    """`match.found` of the guest's seat."""
    found = match_found(Conversation.proposed().call, "b", START_MS + 5)

    assert (found.seat, found.role, found.offerer) == ("b", "guest", False)
    assert found.accept_by_at == START_MS + 10_000
    assert found.server_now == START_MS + 5
