"""When the clock starts, and what losing the network does and does not do."""

import pytest

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.change import CallRefused
from signaling.call.effects import CloseMedia, ReleaseTicket, ReturnTicket, Send, SettleMatch
from signaling.call.media import MAX_RESETS
from signaling.call.rules import check_relay
from signaling.call.states import SEATS, EndReason, Seat, State
from signaling.protocol.messages.call import CallReset, MediaStats
from tests.unit.signaling.call.conversation import Conversation, attached, detached, session_ended


def claim(seat: Seat, *, answered: bool = True) -> events.MediaConnected:
    return events.MediaConnected(seat, answer_relayed=answered)


def test_one_claim_alone_never_starts_the_clock() -> None:
    """A claim is only a claim: with no second one the call times out."""
    talk = Conversation.connecting()

    talk.does(claim("a"))

    assert talk.state() is State.CONNECTING
    assert talk.call.ends_at is None
    talk.passes(20)
    assert talk.call.reason is EndReason.CONNECT_TIMEOUT


def test_the_second_claim_starts_the_clock() -> None:
    """Live for 180 s from that moment; the match is settled."""
    talk = Conversation.connecting().later(3)
    talk.does(claim("b"))

    talk.later(1).does(claim("a"))

    assert talk.state() is State.LIVE
    assert talk.call.live_since == talk.now_ms
    assert talk.call.next_deadline_at == talk.call.ends_at == talk.now_ms + 180_000
    assert talk.done == [SettleMatch()]


def test_media_cannot_be_connected_before_an_answer_was_relayed() -> None:
    """Such a claim cannot be true."""
    talk = Conversation.connecting()

    assert talk.is_refused(claim("a", answered=False)) is ErrorCode.BAD_STATE


def test_claiming_again_changes_nothing() -> None:
    """A retry is `ok`: while connecting, and once live."""
    talk = Conversation.connecting()
    talk.does(claim("a"))

    assert talk.ignores(claim("a"))
    assert Conversation.live().ignores(claim("a", answered=False))


@pytest.mark.parametrize("state", ["proposed", "deciding"])
def test_media_belongs_to_states_that_have_some(state: str) -> None:
    """Before and after, claims are out of place."""
    talk = getattr(Conversation, state)()

    assert talk.is_refused(claim("a")) is ErrorCode.BAD_STATE
    assert talk.is_refused(events.MediaDisconnected("a")) is ErrorCode.BAD_STATE
    assert talk.is_refused(events.MediaFailed("a")) is ErrorCode.BAD_STATE


def test_a_lost_claim_has_to_be_made_again_before_the_clock_starts() -> None:
    """Media that came and went while connecting counts for nothing."""
    talk = Conversation.connecting()
    talk.does(claim("a"))
    talk.does(events.MediaDisconnected("a"))

    talk.does(claim("b"))

    assert talk.state() is State.CONNECTING
    talk.does(claim("a"))
    assert talk.state() is State.LIVE


def test_a_side_that_is_away_when_the_clock_starts_is_waited_for() -> None:
    """Both have media, one has no socket: the clock runs, and its return is awaited."""
    talk = Conversation.connecting()
    talk.does(claim("a"))
    talk.does(detached("a"))

    talk.does(claim("b"))

    assert talk.state() is State.RECONNECTING
    assert talk.call.ends_at == talk.now_ms + 180_000
    talk.attaches("a")
    assert talk.state() is State.LIVE


def test_a_connecting_call_that_times_out_sends_back_who_is_there() -> None:
    """Somebody without a socket could not be matched anyway."""
    talk = Conversation.connecting()
    talk.does(detached("b"))

    talk.passes(20)

    assert talk.call.reason is EndReason.CONNECT_TIMEOUT
    assert talk.effects(ReturnTicket) == [ReturnTicket("a")]
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("b")]
    assert talk.effects(CloseMedia) == [CloseMedia()]


@pytest.mark.parametrize("event", [events.HungUp("b"), session_ended("b")])
def test_leaving_while_connecting_cancels(event: events.Event) -> None:
    """The other goes back to the queue."""
    talk = Conversation.connecting()

    talk.does(event)

    assert talk.call.reason is EndReason.CANCELLED
    assert talk.effects(ReturnTicket) == [ReturnTicket("a")]


@pytest.mark.parametrize("loss", [events.MediaDisconnected("a"), detached("a"), events.MediaFailed("a")])
def test_losing_media_or_socket_is_reconnecting_while_the_clock_runs_on(loss: events.Event) -> None:
    """15 s to come back, and no time is gained by being away."""
    talk = Conversation.live(after=60)
    ends_at = talk.call.ends_at

    talk.does(loss)

    assert talk.state() is State.RECONNECTING
    assert talk.call.next_deadline_at == talk.now_ms + 15_000
    assert talk.call.ends_at == ends_at


def test_the_window_counts_from_the_first_loss() -> None:
    """A second loss, of either side, buys nothing."""
    talk = Conversation.live(after=60)
    talk.does(events.MediaDisconnected("a"))
    deadline_at = talk.call.deadline_at

    talk.later(5).does(detached("b"))
    talk.later(5).does(events.MediaDisconnected("b"))

    assert talk.call.deadline_at == deadline_at


def test_a_call_is_live_again_when_both_are_there_with_media() -> None:
    """Socket and media, of both sides: whichever comes last."""
    talk = Conversation.live()
    talk.does(detached("a"))
    talk.does(events.MediaDisconnected("a"))
    talk.does(events.MediaDisconnected("b"))

    talk.attaches("a")
    talk.does(claim("a"))
    assert talk.state() is State.RECONNECTING
    talk.does(claim("b"))

    assert talk.state() is State.LIVE
    assert talk.call.deadline_at is None


def test_a_socket_that_blinked_while_media_flowed_is_live_at_once() -> None:
    """The peers' media does not pass through us: nothing needs to be claimed anew by the same session."""
    talk = Conversation.live()
    talk.does(detached("a"))

    talk.attaches("a", node="node-elsewhere")

    assert talk.state() is State.LIVE
    assert talk.a.node_id == "node-elsewhere"


@pytest.mark.parametrize("node", ["node-elsewhere", "node-a"])
def test_a_socket_that_was_lost_on_the_node_that_the_session_came_from_is_nothing(node: str) -> None:
    """The late word of a node that has given the session away; where it is now, its word counts."""
    talk = Conversation.live()
    talk.attaches("a", node="node-elsewhere")

    talk.does(detached("a", node=node))

    assert talk.a.attached is (node == "node-a")
    assert talk.state() is (State.LIVE if node == "node-a" else State.RECONNECTING)


def test_a_new_session_has_to_claim_media_again() -> None:
    """It may be a page that was reloaded, whose peer connection is gone; also without a detachment before."""
    talk = Conversation.live()

    talk.attaches("a", session="session-new")

    assert talk.state() is State.RECONNECTING
    talk.does(claim("a"))
    assert talk.state() is State.LIVE


def test_news_of_an_older_session_mean_nothing() -> None:
    """Its detachment and its end come late; the seat has a newer one."""
    talk = Conversation.live()
    talk.attaches("a", session="session-new")

    assert talk.ignores(detached("a"))
    assert talk.ignores(session_ended("a"))


def test_failed_media_lets_both_begin_again() -> None:
    """Both build new peer connections, so both claims are void."""
    talk = Conversation.live()

    talk.does(events.MediaFailed("b"))

    reset = CallReset(call_id=talk.call.call_id)
    assert talk.done == [Send("a", reset), Send("b", reset)]
    talk.does(claim("b"))
    assert talk.state() is State.RECONNECTING
    talk.does(claim("a"))
    assert talk.state() is State.LIVE


def test_resets_are_bounded() -> None:
    """After the last one a failure is a mere loss: the reconnecting window ends it."""
    talk = Conversation.connecting(connecting_s=1000)

    for _ in range(MAX_RESETS + 3):
        talk.does(events.MediaFailed("a"))

    assert len(talk.told("b", CallReset)) == MAX_RESETS
    for seat in SEATS:
        talk.does(claim(seat))
    talk.does(events.MediaFailed("a"))
    assert (talk.a.media_connected, talk.b.media_connected) == (False, True)


def test_a_lost_network_ends_a_young_call() -> None:
    """Under `decide_after_s` there is nothing to decide."""
    talk = Conversation.reconnecting(after=5)

    talk.passes(15)

    assert talk.state() is State.ENDED
    assert talk.call.reason is EndReason.NETWORK_LOST
    assert talk.call.duration_ms == 20_000


def test_a_lost_network_after_a_real_talk_is_decided_about() -> None:
    """As hanging up would be."""
    talk = Conversation.reconnecting(after=60).passes(15)

    assert talk.state() is State.DECIDING


def test_the_clock_ends_a_reconnecting_call_too() -> None:
    """A loss near the end does not stretch the call."""
    talk = Conversation.reconnecting(after=175).passes(5)

    assert talk.state() is State.DECIDING


def test_quality_is_kept_without_telling_anybody() -> None:
    """The last report counts; neither side's version moves."""
    talk = Conversation.live()

    talk.does(events.QualityReported("a", MediaStats(rtt_ms=50)))
    talk.does(events.QualityReported("a", MediaStats(rtt_ms=70)))

    assert talk.a.stats == MediaStats(rtt_ms=70)
    assert talk.a.hidden == talk.b.hidden == 2


def test_refusals_of_the_gate_are_counted_by_code() -> None:
    """For history; several at once count as several."""
    talk = Conversation.live()

    talk.does(events.RelayRefused("a", ErrorCode.VIDEO_NOT_ALLOWED))
    talk.does(events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, count=2))
    talk.does(events.RelayRefused("b", ErrorCode.SDP_INVALID))

    assert talk.call.refusals == {"video_not_allowed": 3, "sdp_invalid": 1}
    assert talk.a.hidden == talk.b.hidden == 3


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("proposed", ErrorCode.BAD_STATE),
        ("connecting", None),
        ("live", None),
        ("reconnecting", None),
        ("deciding", ErrorCode.BAD_STATE),
        ("ended", ErrorCode.CALL_ENDED),
    ],
)
def test_descriptions_pass_only_where_media_is_set_up_or_flows(state: str, code: ErrorCode | None) -> None:
    """As far as the state goes; the gate judges the rest."""
    talk = getattr(Conversation, state)()

    if code is None:
        check_relay(talk.call, "a")
    else:
        with pytest.raises(CallRefused) as refused:
            check_relay(talk.call, "a")
        assert refused.value.code is code


def test_for_a_guest_relays_of_a_deciding_call_are_over() -> None:
    """He was told `call.ended`."""
    with pytest.raises(CallRefused) as refused:
        check_relay(Conversation.deciding().call, "b")

    assert refused.value.code is ErrorCode.CALL_ENDED


def test_attaching_where_one_already_is_changes_nothing() -> None:
    """The same session on the same node, told twice."""
    assert Conversation.live().ignores(attached("a"))
