"""The consent log as a chain: what is in it, how it is bound, and that nobody changes it unseen."""

import json
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.change import MAX_REFUSED_LINES, MAX_REFUSED_LINES_OF_SEAT
from signaling.call.consent import ChainState, Entry, entries, genesis, hashes, head, verify
from signaling.call.record import Call, decode, encode
from signaling.call.states import State
from tests.unit.signaling.call.conversation import CALL_ID, START_MS, Conversation, wants_connection


def talked_over() -> Call:
    """Asked, refused by the gate, allowed, taken back; refused again at the very end."""
    talk = Conversation.live()
    talk.does(events.VideoRequested("b"))
    talk.later(1).does(events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, 3))
    talk.later(1).does(events.VideoApproved("a", "receive"))
    talk.later(1).does(events.VideoRevoked("a"))
    talk.does(events.Moderated())
    talk.later(1).does(events.RelayRefused("b", ErrorCode.CALL_ENDED))
    return talk.call


def verdict_of(call: Call, log: list[Entry], chain: list[bytes]) -> ChainState:
    return verify(genesis(call.call_id, "user-a", "user-b"), log, list(chain), head(call)).state


def test_the_log_has_consent_and_refusals_in_the_order_in_which_they_came() -> None:
    """By whom, for whom, with direction and code; also what was refused just before the end."""
    assert entries(talked_over()) == [
        Entry(number=0, at=START_MS, kind="video_asked", by="b"),
        Entry(
            number=1, at=START_MS + 1_000, kind="relay_refused", by="b", detail="video_not_allowed", count=3
        ),
        Entry(number=2, at=START_MS + 2_000, kind="video_allowed", by="a", sender="b", detail="receive"),
        Entry(number=3, at=START_MS + 3_000, kind="video_revoked", by="a", sender="b"),
        Entry(number=4, at=START_MS + 4_000, kind="relay_refused", by="b", detail="call_ended"),
    ]


def test_the_record_carries_the_end_of_the_chain_through_every_commit() -> None:
    """What is stored and read on another node goes on from the same hash."""
    call = talked_over()
    chain = hashes(call, entries(call))

    assert call.consent_head == chain[-1]
    assert decode(encode(call)).consent_head == chain[-1]
    assert verdict_of(call, entries(call), chain) is ChainState.INTACT


def test_anybody_can_compute_the_chain() -> None:
    """SHA-256 over the hash before and a JSON array: no code of ours is needed to check a log."""
    previous = sha256(b'["minuet consent log 1","%b","user-a","user-b"]' % CALL_ID.encode()).digest()
    for entry in entries(talked_over()):
        fields = [entry.number, entry.at, entry.kind, entry.by, entry.sender, entry.detail, entry.count]
        previous = sha256(previous + json.dumps(fields, separators=(",", ":")).encode()).digest()

    assert previous == talked_over().consent_head


def test_a_call_without_any_consent_is_sealed_as_that() -> None:
    """Else every entry could be taken away."""
    call = Conversation.ended().call

    assert entries(call) == []
    assert head(call) == genesis(CALL_ID, "user-a", "user-b")
    assert verdict_of(call, [], []) is ChainState.INTACT


@pytest.mark.parametrize(
    "changes",
    [
        {"at": 0},
        {"kind": "video_allowed"},
        {"by": "a"},
        {"by": None},
        {"sender": "b"},
        {"detail": "sdp_invalid"},
        {"detail": None},
        {"count": 2},
    ],
    ids=str,
)
def test_a_changed_entry_breaks_the_chain_where_it_stands(changes: dict[str, object]) -> None:
    """Whatever is changed in it."""
    call = talked_over()
    log, chain = entries(call), hashes(call, entries(call))
    log[1] = msgspec.structs.replace(log[1], **changes)

    verdict = verify(genesis(call.call_id, "user-a", "user-b"), log, chain, head(call))

    assert (verdict.state, verdict.broken_at) == (ChainState.BROKEN, 1)


def test_a_forged_chain_does_not_end_where_the_true_one_does() -> None:
    """Whoever changes an entry and computes all hashes anew still misses the last one."""
    call = talked_over()
    log = entries(call)
    log[0] = msgspec.structs.replace(log[0], by="a")

    verdict = verify(genesis(call.call_id, "user-a", "user-b"), log, hashes(call, log), head(call))

    assert (verdict.state, verdict.broken_at) == (ChainState.BROKEN, 5)


def test_a_log_is_of_one_call_and_two_people() -> None:
    """Shown as another call's, or with the people swapped, it is broken from its first entry."""
    call = talked_over()
    log, chain = entries(call), hashes(call, entries(call))

    for start in (genesis("another call", "user-a", "user-b"), genesis(call.call_id, "user-b", "user-a")):
        assert verify(start, log, chain, head(call)).broken_at == 0


@given(st.data())
def test_nothing_can_be_cut_out_swapped_or_added(data: st.DataObject) -> None:
    """At any place, together with its hash."""
    call = talked_over()
    log = list(zip(entries(call), hashes(call, entries(call)), strict=True))
    first, second = sorted(data.draw(st.sets(st.integers(0, 4), min_size=2, max_size=2)))
    match data.draw(st.sampled_from(["cut", "swap", "repeat", "end"])):
        case "cut":
            del log[first]
        case "swap":
            log[first], log[second] = log[second], log[first]
        case "repeat":
            log.insert(second, log[first])
        case "end":
            del log[second:]

    assert verdict_of(call, [entry for entry, _ in log], [found for _, found in log]) is ChainState.BROKEN


def test_a_log_without_any_hash_is_told_apart_from_a_broken_one() -> None:
    """A release before the chain has written it. One hash that is missing is no such log."""
    call = talked_over()
    log, chain = entries(call), hashes(call, entries(call))
    start = genesis(call.call_id, "user-a", "user-b")

    assert verify(start, log, [None] * 5, None).state is ChainState.UNSEALED
    assert verify(start, log, [None] * 5, head(call)).state is ChainState.BROKEN
    assert verify(start, log, [*chain[:4], None], head(call)).state is ChainState.BROKEN
    assert verify(start, log, list(chain), None).state is ChainState.BROKEN


def test_a_node_of_an_older_release_may_have_had_the_call_in_between() -> None:
    """It drops the fields that it does not know: the chain is computed anew over what it kept, and goes on."""
    talk = Conversation.live()
    talk.does(events.VideoRequested("b"))
    talk.does(events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED))
    raw = msgspec.msgpack.decode(encode(talk.call))
    del raw["consent_head"], raw["refused"]
    talk.call = decode(msgspec.msgpack.encode(raw))

    talk.later(1).does(events.VideoDenied("a"))

    assert [entry.kind for entry in entries(talk.call)] == ["video_asked", "video_denied"]
    assert talk.call.consent_head == hashes(talk.call, entries(talk.call))[-1]


def test_refusals_have_room_of_their_own_and_it_is_bounded() -> None:
    """However stubborn a client is, consent still finds its place, and the sums go on."""
    talk = Conversation.live()
    for _ in range(MAX_REFUSED_LINES + 40):
        talk.does(events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, 20))
    talk.does(events.VideoApproved("a", "both"))

    assert len(talk.call.refused) == MAX_REFUSED_LINES_OF_SEAT
    assert talk.call.refusals == {"video_not_allowed": 2_000}
    assert [entry.kind for entry in entries(talk.call)[-2:]] == ["video_allowed", "video_allowed"]
    assert verdict_of(talk.call, entries(talk.call), hashes(talk.call, entries(talk.call))) == "intact"


def test_a_secret_wish_is_in_the_log_and_nobody_is_told_of_a_refusal() -> None:
    """The log is for a moderator with a report, not for the other side."""
    talk = Conversation.live(mutual=True)
    talk.does(wants_connection("a"))
    told = talk.does(events.RelayRefused("b", ErrorCode.SDP_INVALID))

    assert [entry.kind for entry in entries(talk.call)] == ["connect_wished", "relay_refused"]
    assert told.effects == ()
    assert talk.state() is State.LIVE


def test_what_a_seat_has_sent_goes_with_the_record_to_the_next_node() -> None:
    """The most that any node knew; a node that died without a word does not lower it."""
    talk = Conversation.live()
    talk.does(events.SeatDetached("a", talk.a.session_id, 5_000))
    talk.attaches("a", node="elsewhere")

    talk.does(events.SeatDetached("a", talk.a.session_id))

    assert talk.a.signaling_spent == 5_000
    assert talk.b.signaling_spent == 0


def test_what_a_superseded_session_had_sent_counts_and_nobody_notices() -> None:
    """Whoever opens a second session elsewhere, with the first one still open, does not get a second budget."""
    talk = Conversation.live()
    old = talk.a.session_id
    talk.attaches("a", session="newer", node="elsewhere")
    seen = [talk.call.seat(seat) for seat in ("a", "b")]
    versions = [talk.call.version - seat.hidden for seat in seen]

    late = talk.does(events.SeatDetached("a", old, 5_000))

    assert talk.a.signaling_spent == 5_000
    assert talk.a.attached
    assert late.effects == ()
    assert [talk.call.version - talk.call.seat(seat).hidden for seat in ("a", "b")] == versions


def test_one_seat_does_not_crowd_the_other_out_of_the_refusals() -> None:
    """Whatever one sends first, what the other was refused later is in the log with its code."""
    talk = Conversation.live()
    for _ in range(MAX_REFUSED_LINES):
        talk.does(events.RelayRefused("b", ErrorCode.CANDIDATE_INVALID))
    talk.does(events.RelayRefused("a", ErrorCode.VIDEO_NOT_ALLOWED, 5))

    last = entries(talk.call)[-1]
    assert (last.by, last.detail, last.count) == ("a", "video_not_allowed", 5)
