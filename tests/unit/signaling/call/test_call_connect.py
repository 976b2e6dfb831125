"""Staying in touch: who decides, when it counts, and that a first wish stays secret."""

import pytest

from base.errors import ErrorCode
from base.ids import ConnectionId
from signaling.call import events
from signaling.call.effects import OpenConnection, ReleaseTicket
from signaling.call.record import ConsentKind
from signaling.call.states import EndReason, Seat, State
from signaling.call.view import call_state, must_hear, view_version
from signaling.protocol.messages.call import CallEnded, ConnectPrompt
from tests.unit.signaling.call.conversation import (
    CONNECTION_ID,
    START_MS,
    Conversation,
    detached,
    session_ended,
    wants_connection,
)

MADE = {"connected": True, "connection_id": CONNECTION_ID}


@pytest.mark.parametrize("state", ["live", "reconnecting"])
def test_the_controller_connects_while_the_call_goes_on(state: str) -> None:
    """Her word is enough; the call does not end by it."""
    talk = getattr(Conversation, state)()

    reply = talk.does(wants_connection("a")).reply

    assert reply == MADE
    assert talk.call.connected
    assert talk.done == [OpenConnection(CONNECTION_ID)]
    assert talk.state() is State(state)


def test_asking_to_connect_again_gives_the_same_answer() -> None:
    """With the first id, whatever id the retry brought; also long after the call."""
    talk = Conversation.live()
    talk.does(wants_connection("a"))
    again = events.ConnectRequested("a", ConnectionId("another-id"))

    assert talk.does(again).reply == MADE
    talk.passes(180)
    assert talk.state() is State.ENDED
    assert talk.does(again).reply == MADE
    assert len(talk.effects(OpenConnection)) == 1


@pytest.mark.parametrize("state", ["connecting", "live", "reconnecting"])
def test_the_guest_does_not_decide_about_staying_in_touch(state: str) -> None:
    """`forbidden_role`, for yes and no."""
    talk = getattr(Conversation, state)()

    assert talk.is_refused(wants_connection("b")) is ErrorCode.FORBIDDEN_ROLE
    assert talk.is_refused(events.ConnectPassed("b")) is ErrorCode.FORBIDDEN_ROLE


def test_a_connected_call_has_nothing_to_decide() -> None:
    """Its clock ends it as `completed`."""
    talk = Conversation.live()
    talk.does(wants_connection("a"))

    talk.passes(180)

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.COMPLETED)


def test_a_connected_call_that_loses_its_network_is_completed() -> None:
    """They talked and stay in touch: nothing went wrong that matters."""
    talk = Conversation.reconnecting(after=60)
    talk.does(wants_connection("a"))

    talk.passes(15)

    assert talk.call.reason is EndReason.COMPLETED


def test_hanging_up_a_connected_call_ends_it() -> None:
    """`hangup`, also after a long talk."""
    talk = Conversation.live(after=100)
    talk.does(wants_connection("a"))

    talk.does(events.HungUp("b"))

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.HANGUP)


# --- deciding ---


def test_entering_deciding_frees_the_guest_and_asks_the_controller() -> None:
    """For him the call is over; she has 30 s."""
    talk = Conversation.live().passes(180)

    assert talk.state() is State.DECIDING
    ended = CallEnded(call_id=talk.call.call_id, reason="completed", duration_ms=180_000, requeued=False)
    assert talk.told("b", CallEnded) == [ended]
    assert talk.told("a", CallEnded) == []
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("b")]
    prompt = ConnectPrompt(call_id=talk.call.call_id, expires_at=talk.now_ms + 30_000)
    assert talk.told("a", ConnectPrompt) == [prompt]
    assert talk.told("b", ConnectPrompt) == []


def test_she_connects_afterwards() -> None:
    """`ended connected`; the guest hears no second end, the connection is opened."""
    talk = Conversation.deciding()

    reply = talk.does(wants_connection("a")).reply

    assert reply == MADE
    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.CONNECTED)
    assert [message.reason for message in talk.told("a", CallEnded)] == ["connected"]
    assert talk.told("b", CallEnded) == []
    assert talk.effects(OpenConnection) == [OpenConnection(CONNECTION_ID)]
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("a")]


def test_she_connects_also_when_her_session_is_away() -> None:
    """Over REST, present or not."""
    talk = Conversation.deciding()
    talk.does(detached("a"))

    talk.does(wants_connection("a"))

    assert talk.call.connected


@pytest.mark.parametrize(
    "event",
    [
        events.ConnectPassed("a"),
        events.HungUp("a", passes=True),
        events.QueueJoined("a"),
        session_ended("a"),
    ],
)
def test_she_passes(event: events.Event) -> None:
    """By saying so, leaving, or queueing again."""
    talk = Conversation.deciding()

    talk.does(event)

    assert (talk.state(), talk.call.reason) == (State.ENDED, EndReason.COMPLETED)
    assert not talk.call.connected
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("a")]


@pytest.mark.parametrize("seen", [False, None])
def test_leaving_the_talk_is_no_answer_to_what_is_asked_after_it(seen: bool | None) -> None:
    """Said before she saw the question, heard after it was put: late, twice, or because he hung up, too."""
    talk = Conversation.deciding()

    assert talk.ignores(events.HungUp("a", passes=seen))


def test_she_lets_the_time_run_out() -> None:
    """`completed`, and then it is too late."""
    talk = Conversation.deciding().passes(30)

    assert talk.call.reason is EndReason.COMPLETED
    assert talk.is_refused(wants_connection("a")) is ErrorCode.CALL_ENDED


def test_ending_the_app_to_hang_up_is_not_passing_as_well() -> None:
    """The same end of a session is heard of twice; only the first hangs up, and she may still decide."""
    talk = Conversation.live(after=60)
    talk.does(session_ended("a"))
    assert talk.state() is State.DECIDING

    assert talk.ignores(session_ended("a"))
    talk.attaches("a", session="session-later")
    talk.does(wants_connection("a"))
    assert talk.call.reason is EndReason.CONNECTED


@pytest.mark.parametrize(
    "event",
    [
        events.HungUp("b"),
        events.VideoRequested("b"),
        events.VideoRevoked("b"),
        events.ExtensionRequested("b"),
        wants_connection("b"),
        events.ConnectPassed("b"),
    ],
)
def test_for_the_guest_a_deciding_call_has_ended(event: events.Event) -> None:
    """`call_ended`, whatever he tries."""
    assert Conversation.deciding().is_refused(event) is ErrorCode.CALL_ENDED


def test_what_the_guest_does_next_does_not_disturb_her() -> None:
    """He leaves, comes back, queues again."""
    talk = Conversation.deciding()

    assert talk.ignores(session_ended("b"))
    assert talk.ignores(detached("b"))
    assert talk.ignores(events.QueueJoined("b"))


# --- mutual ---


def test_in_a_mutual_call_the_second_wish_makes_the_connection() -> None:
    """The first is answered without one."""
    talk = Conversation.live(mutual=True)

    first = talk.does(wants_connection("b")).reply
    assert first == {"connected": False}
    assert talk.done == []
    second = talk.does(wants_connection("a")).reply

    assert second == MADE
    assert talk.done == [OpenConnection(CONNECTION_ID)]
    assert talk.does(wants_connection("b")).reply == MADE


def test_the_first_wish_leaves_no_trace_in_the_others_view() -> None:
    """No message, no field, and no gap between the versions that the other sees."""
    talk = Conversation.live(mutual=True)
    before, plain = talk.call, call_state(talk.call, "a", 0)

    talk.does(wants_connection("b"))

    assert call_state(talk.call, "a", 0) == plain
    assert not must_hear("a", before, talk.call)
    assert must_hear("b", before, talk.call)
    seen = view_version(talk.call, "a")
    talk.does(events.MediaDisconnected("a"))
    assert view_version(talk.call, "a") == seen + 1


def test_a_wish_can_be_taken_back_as_secretly() -> None:
    """Then it takes both again."""
    talk = Conversation.live(mutual=True)
    talk.does(wants_connection("a"))
    before = talk.call

    talk.does(events.ConnectPassed("a"))

    assert not must_hear("b", before, talk.call)
    assert talk.does(wants_connection("b")).reply == {"connected": False}
    assert talk.ignores(events.ConnectPassed("a"))


def test_while_they_talk_a_controller_has_nothing_to_pass_on() -> None:
    """Nor has anybody once they are connected."""
    assert Conversation.live().is_refused(events.ConnectPassed("a")) is ErrorCode.BAD_STATE
    talk = Conversation.live(mutual=True)
    for seat in ("a", "b"):
        talk.does(wants_connection(seat))
    assert talk.is_refused(events.ConnectPassed("a")) is ErrorCode.BAD_STATE


def test_in_a_mutual_call_both_decide() -> None:
    """Nobody is freed before the end; each is asked."""
    talk = Conversation.live(mutual=True).passes(180)

    assert len(talk.told("a", ConnectPrompt)) == len(talk.told("b", ConnectPrompt)) == 1
    assert talk.told("a", CallEnded) == talk.told("b", CallEnded) == []
    assert talk.effects(ReleaseTicket) == []


def test_one_who_has_said_yes_is_not_asked_again() -> None:
    """A wish made while talking counts when the clock has run out."""
    talk = Conversation.live(mutual=True)
    talk.does(wants_connection("a"))

    talk.passes(180)

    assert talk.told("a", ConnectPrompt) == []
    assert len(talk.told("b", ConnectPrompt)) == 1
    talk.does(wants_connection("b"))
    assert talk.call.reason is EndReason.CONNECTED
    assert [message.reason for message in talk.told("a", CallEnded)] == ["connected"]
    assert [message.reason for message in talk.told("b", CallEnded)] == ["connected"]


@pytest.mark.parametrize("seat", ["a", "b"])
def test_one_pass_ends_a_mutual_decision(seat: Seat) -> None:
    """Whatever the other wished."""
    talk = Conversation.deciding(mutual=True)
    talk.does(wants_connection("a"))

    talk.does(events.ConnectPassed(seat))

    assert talk.call.reason is EndReason.COMPLETED
    assert not talk.call.connected
    assert talk.is_refused(wants_connection("b")) is ErrorCode.CALL_ENDED


def test_one_wish_and_silence_end_without_a_connection() -> None:
    """And the wish remains a secret."""
    talk = Conversation.deciding(mutual=True)
    talk.does(wants_connection("a"))

    talk.passes(30)

    assert talk.call.reason is EndReason.COMPLETED
    assert not talk.call.connected


def test_wishing_back_and_forth_is_bounded() -> None:
    """The log has an end; taking back always works."""
    talk = Conversation.live(mutual=True, call_seconds=10_000)
    for _ in range(200):
        if len(talk.call.events) >= 180:
            break
        talk.does(wants_connection("a"))
        talk.does(events.ConnectPassed("a"))

    assert talk.is_refused(wants_connection("a")) is ErrorCode.LIMIT_REACHED


def test_wishes_and_their_fulfilment_are_in_the_consent_log() -> None:
    """Who wished when, and that it came true."""
    talk = Conversation.live(mutual=True)
    talk.does(wants_connection("b"))
    talk.does(wants_connection("a"))

    kinds = [(event.kind, event.by) for event in talk.call.events]
    assert kinds == [
        (ConsentKind.CONNECT_WISHED, "b"),
        (ConsentKind.CONNECT_WISHED, "a"),
        (ConsentKind.CONNECTED, None),
    ]


def test_connecting_needs_somebody_to_have_talked_to() -> None:
    """Before the call is live there is nothing to stay in touch about."""
    for state in (Conversation.proposed(), Conversation.connecting()):
        assert state.is_refused(wants_connection("a")) is ErrorCode.BAD_STATE
        assert state.is_refused(events.ConnectPassed("a")) is ErrorCode.BAD_STATE


def test_passing_is_in_the_consent_log_too() -> None:
    """A wish taken back while talking, and a decision against it afterwards."""
    talk = Conversation.live(mutual=True)
    talk.does(wants_connection("a"))
    talk.does(events.ConnectPassed("a"))
    talk.passes(180)
    talk.does(events.ConnectPassed("b"))

    passed = [(event.by, event.at) for event in talk.call.events if event.kind is ConsentKind.CONNECT_PASSED]
    assert passed == [("a", START_MS), ("b", talk.now_ms)]
