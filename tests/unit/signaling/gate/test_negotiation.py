"""Which descriptions and candidates still count."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode, MinuetError
from signaling.candidates import AddressRule, CandidateInvalid, Outcome, RelayRange, RelayRanges
from signaling.negotiation import MAX_CANDIDATES, AnswerRefused, Negotiations, StaleNegotiation
from signaling.protocol.messages.call import IceCandidate
from signaling.sdp import Allowance, SdpRefused
from tests.fixtures.sdp import VOICE, audio, description, video

NOTHING = Allowance()
BOTH = Allowance(send_video=True, receive_video=True)
WITH_VIDEO = description(audio(), video())


def candidates(count: int) -> list[IceCandidate]:
    line = "candidate:1 1 udp 2122260223 192.0.2.1 {} typ host"
    return [IceCandidate(candidate=line.format(50_000 + n), mid="0") for n in range(count)]


def test_numbers_rise_for_each_offerer_on_their_own() -> None:
    """Glare gives equal numbers; they are different negotiations."""
    exchange = Negotiations(10_000)

    exchange.offer("a", 1, VOICE, NOTHING, 0)
    exchange.offer("b", 1, VOICE, NOTHING, 0)

    with pytest.raises(StaleNegotiation):
        exchange.offer("a", 1, VOICE, NOTHING, 0)
    with pytest.raises(StaleNegotiation):
        exchange.offer("b", 0, VOICE, NOTHING, 0)


def test_an_accepted_answer_closes_every_open_offer() -> None:
    """After glare the loser's offer is gone with the winner's answer."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, VOICE, NOTHING, 0)
    exchange.offer("b", 1, VOICE, NOTHING, 0)

    exchange.answer("b", 1, VOICE, NOTHING)

    assert exchange.answered
    assert not exchange.is_open
    with pytest.raises(StaleNegotiation):
        exchange.answer("a", 1, VOICE, NOTHING)


def test_a_refused_offer_leaves_no_trace() -> None:
    """Its number may be used again, and nobody can answer it."""
    exchange = Negotiations(10_000)

    with pytest.raises(SdpRefused):
        exchange.offer("a", 1, WITH_VIDEO, NOTHING, 0)

    with pytest.raises(StaleNegotiation):
        exchange.answer("b", 1, VOICE, NOTHING)
    exchange.offer("a", 1, VOICE, NOTHING, 0)


def test_a_refused_answer_ends_its_negotiation() -> None:
    """The answerer may have applied it, so both start over with a new number."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, WITH_VIDEO, BOTH, 0)

    with pytest.raises(AnswerRefused) as caught:
        exchange.answer("b", 1, WITH_VIDEO, NOTHING)

    assert caught.value.code is ErrorCode.VIDEO_NOT_ALLOWED
    assert not exchange.answered
    with pytest.raises(StaleNegotiation):
        exchange.answer("b", 1, VOICE, NOTHING)


@pytest.mark.parametrize(
    "answer",
    [VOICE, description(audio("7"), video()), description(video(mid="0"), audio("1"))],
    ids=["a section less", "another mid", "other kinds"],
)
def test_an_answer_fits_its_offer(answer: str) -> None:
    """Count, kind and mid of the sections are the offer's."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, WITH_VIDEO, BOTH, 0)

    with pytest.raises(AnswerRefused) as caught:
        exchange.answer("b", 1, answer, BOTH)

    assert caught.value.code is ErrorCode.ANSWER_MISMATCH


def test_offers_run_out() -> None:
    """Nobody answered in time: closed, and told which."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, VOICE, NOTHING, 0)
    exchange.offer("b", 5, VOICE, NOTHING, 4_000)

    assert exchange.next_deadline_ms == 10_000
    assert exchange.expire(9_999) == []
    assert exchange.expire(10_000) == [("a", 1)]
    assert exchange.expire(14_000) == [("b", 5)]
    assert exchange.next_deadline_ms is None


def test_candidates_wait_for_the_description_of_their_side() -> None:
    """The offerer's come after the offer, the answerer's after the answer."""
    exchange = Negotiations(10_000)

    assert exchange.candidates("a", "a", 1, candidates(2), False) is None
    exchange.offer("a", 1, VOICE, NOTHING, 0)
    released = exchange.release("a", "a", 1)
    assert released is not None
    assert len(released.candidates) == 2
    assert exchange.candidates("b", "a", 1, candidates(1), True) is None
    exchange.answer("b", 1, VOICE, NOTHING)
    answered = exchange.release("b", "a", 1)

    assert answered is not None
    assert (len(answered.candidates), answered.complete) == (1, True)
    assert exchange.release("b", "a", 1) is None
    assert exchange.candidates("a", "a", 1, candidates(1), False) is not None


def test_candidates_of_closed_negotiations_are_stale() -> None:
    """Nor can anybody announce candidates for an offer the peer has not made."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, VOICE, NOTHING, 0)
    exchange.answer("b", 1, VOICE, NOTHING)
    exchange.offer("a", 2, VOICE, NOTHING, 0)
    exchange.answer("b", 2, VOICE, NOTHING)

    with pytest.raises(StaleNegotiation):
        exchange.candidates("a", "a", 1, candidates(1), False)
    with pytest.raises(StaleNegotiation):
        exchange.candidates("b", "a", 3, candidates(1), False)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=60))
def test_candidates_are_bounded_however_they_come(steps: list[tuple[int, int]]) -> None:
    """At most 40 for a side of a negotiation pass or wait; numbers far ahead do not pile up."""
    exchange = Negotiations(10_000)
    taken: dict[int, int] = {}

    for number, count in steps:
        try:
            exchange.candidates("a", "a", number, candidates(count), False)
            taken[number] = taken.get(number, 0) + count
        except MinuetError as error:
            assert error.code is ErrorCode.RATE_LIMITED

    assert len(exchange._trickles) <= 1
    for trickle in exchange._trickles.values():
        assert len(trickle.waiting) <= MAX_CANDIDATES


RELAYED_ONLY = AddressRule(
    relay_only=True, ranges=RelayRanges((RelayRange((ip_network("198.51.100.7/32"),)),))
)
RELAYED = "candidate:1 1 udp 5 198.51.100.7 50004 typ relay raddr 203.0.113.9 rport 40004"
HOST = "candidate:1 1 udp 5 203.0.113.9 50004 typ host"


def voice(ufrag: str, *candidates: str) -> str:
    lines = [f"a=ice-ufrag:{ufrag}", *(f"a={candidate}" for candidate in candidates)]
    return description(audio() + "".join(f"{line}\r\n" for line in lines))


def trickled(text: str, ufrag: str) -> list[IceCandidate]:
    return [IceCandidate(candidate=text, mid="0", ufrag=ufrag)]


def test_descriptions_pass_through_the_filter() -> None:
    """Offer and answer, by the rule that holds when they pass."""
    exchange = Negotiations(10_000)

    offered = exchange.offer("a", 1, voice("aaaa", HOST, RELAYED), NOTHING, 0, RELAYED_ONLY)
    answered = exchange.answer("b", 1, voice("bbbb", HOST), NOTHING, RELAYED_ONLY)
    open_ = exchange.offer("b", 1, voice("bbbb", HOST), NOTHING, 0)

    assert offered.candidates == (Outcome.NOT_RELAYED, Outcome.PASSED)
    assert "203.0.113.9" not in offered.sdp + answered.sdp
    assert answered.candidates == (Outcome.NOT_RELAYED,)
    assert open_.sdp == voice("bbbb", HOST)


def test_candidates_that_waited_are_filtered_by_their_description() -> None:
    """What came early and belongs to other credentials does not pass after all."""
    exchange = Negotiations(10_000)
    early = trickled(RELAYED, "aaaa") + trickled(RELAYED, "oldd") + trickled(HOST, "aaaa")

    assert exchange.candidates("a", "a", 1, early, False, RELAYED_ONLY) is None
    assert exchange.release("a", "a", 1, RELAYED_ONLY) is None
    exchange.offer("a", 1, voice("aaaa"), NOTHING, 0, RELAYED_ONLY)
    released = exchange.release("a", "a", 1, RELAYED_ONLY)

    assert released is not None
    assert released.outcomes == [Outcome.PASSED, Outcome.FOREIGN, Outcome.NOT_RELAYED]
    assert [item.ufrag for item in released.candidates] == ["aaaa"]
    assert "203.0.113.9" not in str(released)


def test_candidates_that_follow_are_filtered_at_once() -> None:
    """Where nothing passes there is nothing to say, but that there are no more."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, voice("aaaa"), NOTHING, 0, RELAYED_ONLY)

    dropped = exchange.candidates("a", "a", 1, trickled(HOST, "aaaa"), False, RELAYED_ONLY)
    last = exchange.candidates("a", "a", 1, trickled(HOST, "aaaa"), True, RELAYED_ONLY)
    passed = exchange.candidates("a", "a", 1, trickled(RELAYED, "aaaa"), False, RELAYED_ONLY)

    assert dropped is not None
    assert last is not None
    assert passed is not None
    assert (dropped.candidates, dropped.complete) == ([], False)
    assert (last.candidates, last.complete) == ([], True)
    assert (len(passed.candidates), passed.complete) == (1, False)


def test_after_an_ice_restart_late_candidates_belong_to_nothing() -> None:
    """A new negotiation with new credentials is a new generation, with a count of its own."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, voice("aaaa"), NOTHING, 0)
    exchange.candidates("a", "a", 1, trickled(HOST, "aaaa") * MAX_CANDIDATES, False)
    exchange.answer("b", 1, voice("bbbb"), NOTHING)

    exchange.offer("a", 2, voice("cccc"), NOTHING, 0)
    late = exchange.candidates("a", "a", 2, trickled(HOST, "aaaa"), False)
    fresh = exchange.candidates("a", "a", 2, trickled(HOST, "cccc"), False)

    assert late is not None
    assert fresh is not None
    assert (late.outcomes, fresh.outcomes) == ([Outcome.FOREIGN], [Outcome.PASSED])
    with pytest.raises(MinuetError):
        exchange.candidates("a", "a", 2, trickled(HOST, "cccc") * (MAX_CANDIDATES - 1), False)


@pytest.mark.parametrize("early", [True, False])
def test_a_batch_with_a_malformed_candidate_is_refused_whole(early: bool) -> None:
    """It counts for nothing, and nothing of it waits."""
    exchange = Negotiations(10_000)
    if not early:
        exchange.offer("a", 1, voice("aaaa"), NOTHING, 0)
    batch = trickled(HOST, "aaaa") + trickled("candidate:1", "aaaa")

    with pytest.raises(CandidateInvalid):
        exchange.candidates("a", "a", 1, batch, False)

    exchange.candidates("a", "a", 1, trickled(HOST, "aaaa") * MAX_CANDIDATES, False)
    if early:
        exchange.offer("a", 1, voice("aaaa"), NOTHING, 0)
        released = exchange.release("a", "a", 1)
        assert released is not None
        assert len(released.candidates) == MAX_CANDIDATES


def test_a_malformed_candidate_in_a_description_refuses_it() -> None:
    """An offer leaves no trace, an answer ends its negotiation."""
    exchange = Negotiations(10_000)
    malformed = voice("aaaa", "candidate:1")

    with pytest.raises(SdpRefused):
        exchange.offer("a", 1, malformed, NOTHING, 0)
    assert not exchange.is_open
    exchange.offer("a", 1, VOICE, NOTHING, 0)
    with pytest.raises(AnswerRefused) as caught:
        exchange.answer("b", 1, malformed, NOTHING)
    assert caught.value.code is ErrorCode.SDP_INVALID
    assert not exchange.is_open


def test_nobody_answers_an_offer_of_their_own() -> None:
    """Nor one that failed elsewhere or ran out."""
    exchange = Negotiations(10_000)
    exchange.offer("a", 1, VOICE, NOTHING, 0)

    with pytest.raises(StaleNegotiation):
        exchange.answer("a", 1, VOICE, NOTHING)
    assert exchange.withdraw("a", 1)
    assert not exchange.withdraw("a", 1)
    with pytest.raises(StaleNegotiation):
        exchange.answer("b", 1, VOICE, NOTHING)
    exchange.offer("a", 2, VOICE, NOTHING, 0)
    exchange.expire(10_000)
    with pytest.raises(StaleNegotiation):
        exchange.answer("b", 2, VOICE, NOTHING)
