"""What one participant may send in one call, and what is kept back for taking video out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode, MinuetError
from base.policy import IntentPolicy
from signaling.budget import MESSAGE_BYTES, Budget, BudgetSpent
from signaling.negotiation import Negotiations
from signaling.protocol.messages.call import IceCandidate
from signaling.sdp import Allowance
from signaling.session.limits import RateLimited
from tests.fixtures.sdp import VOICE, audio, description, video

POLICY = IntentPolicy()
WITH_VIDEO = description(audio(), video())
WITHOUT_VIDEO = description(audio(), video("inactive"))
NOT_SDP = "v=0\r\nnonsense"
NOW_MS = 1_000_000


def spent_but(left: int, policy: IntentPolicy = POLICY) -> Budget:
    """A budget of which so much is left."""
    return Budget(policy, policy.signaling_bytes - left)


def test_six_offers_pass_and_the_seventh_is_told_when_to_come_back() -> None:
    """The bucket holds six and gets one back every five seconds."""
    budget = Budget(POLICY)
    for _ in range(6):
        budget.offer(VOICE, NOW_MS, video_flows=False)

    with pytest.raises(RateLimited) as refused:
        budget.offer(VOICE, NOW_MS, video_flows=False)

    assert refused.value.retry_after_ms == 5_000
    budget.offer(VOICE, NOW_MS + 5_000, video_flows=False)


def test_answers_are_not_counted_as_offers() -> None:
    """Whoever is offered to has to be able to answer."""
    budget = Budget(POLICY)
    for _ in range(6):
        budget.offer(VOICE, NOW_MS, video_flows=False)

    for _ in range(20):
        budget.answer(VOICE, video_flows=False)

    assert budget.spent == 26 * (MESSAGE_BYTES + len(VOICE))


def test_an_offer_that_takes_video_out_passes_when_the_others_are_used_up() -> None:
    """Two more in the same time, and only for that; then these are to come back, too."""
    budget = Budget(POLICY)
    for _ in range(6):
        budget.offer(WITH_VIDEO, NOW_MS, video_flows=True)

    budget.offer(WITHOUT_VIDEO, NOW_MS, video_flows=True)
    with pytest.raises(RateLimited):
        budget.offer(WITH_VIDEO, NOW_MS, video_flows=True)
    budget.offer(WITHOUT_VIDEO, NOW_MS, video_flows=True)

    with pytest.raises(RateLimited) as refused:
        budget.offer(WITHOUT_VIDEO, NOW_MS, video_flows=True)
    assert refused.value.retry_after_ms == 5_000


@pytest.mark.parametrize(
    ("text", "video_flows"),
    [(WITH_VIDEO, True), (NOT_SDP, True), (VOICE, False), (WITHOUT_VIDEO, False)],
    ids=["keeps video", "not readable", "voice where no video is", "video off where none is"],
)
def test_nothing_else_spends_the_reserve(text: str, video_flows: bool) -> None:
    """However often it is tried, the offer that takes video out passes afterwards."""
    budget = Budget(POLICY)
    for _ in range(6):
        budget.offer(VOICE, NOW_MS, video_flows=False)

    for _ in range(20):
        with pytest.raises(RateLimited):
            budget.offer(text, NOW_MS, video_flows=video_flows)

    budget.offer(WITHOUT_VIDEO, NOW_MS, video_flows=True)


def test_over_the_total_nothing_passes() -> None:
    """Neither description nor candidate, and waiting does not help."""
    with pytest.raises(BudgetSpent) as refused:
        spent_but(100).offer(VOICE, NOW_MS, video_flows=False)
    with pytest.raises(BudgetSpent):
        spent_but(100).answer(VOICE, video_flows=False)
    with pytest.raises(BudgetSpent):
        spent_but(100).candidates([IceCandidate(candidate="candidate:1")])

    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.retry_after_ms is None


def test_over_the_total_video_can_still_be_taken_out() -> None:
    """By an offer or by an answer, as far as the reserve goes."""
    size = MESSAGE_BYTES + len(WITHOUT_VIDEO)
    policy = IntentPolicy(reserved_signaling_bytes=2 * size)
    budget = spent_but(0, policy)

    budget.offer(WITHOUT_VIDEO, NOW_MS, video_flows=True)
    budget.answer(WITHOUT_VIDEO, video_flows=True)

    with pytest.raises(BudgetSpent):
        budget.answer(WITHOUT_VIDEO, video_flows=True)


@pytest.mark.parametrize("text", [WITH_VIDEO, NOT_SDP])
def test_over_the_total_what_keeps_video_does_not_pass(text: str) -> None:
    """The reserve is for one thing."""
    with pytest.raises(BudgetSpent):
        spent_but(0).answer(text, video_flows=True)


def test_a_candidate_counts_with_all_that_the_sender_chooses() -> None:
    """Its line, its mid and its ufrag, and a message without any is not free."""
    budget = Budget(POLICY)

    whole = IceCandidate(candidate="c" * 50, mid="m" * 3, ufrag="u" * 7)
    budget.candidates([whole, IceCandidate(candidate="c" * 10)])
    budget.candidates([])

    assert budget.spent == 70 + 2 * MESSAGE_BYTES


def test_what_is_refused_counts_too() -> None:
    """Trying without end is what the total is against."""
    budget = Budget(IntentPolicy(signaling_bytes=20 * (MESSAGE_BYTES + len(VOICE))))
    refused = 0

    with pytest.raises(BudgetSpent):
        for _ in range(21):
            try:
                budget.offer(VOICE, NOW_MS, video_flows=False)
            except RateLimited:
                refused += 1

    assert refused == 14


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["offer", "answer", "candidates"]),
            st.sampled_from([VOICE, WITH_VIDEO, WITHOUT_VIDEO, NOT_SDP]),
            st.booleans(),
            st.integers(0, 40_000),
        ),
        max_size=60,
    )
)
def test_whatever_came_before_a_revocation_can_be_negotiated(
    sent: list[tuple[str, str, bool, int]],
) -> None:
    """As long as the total is not spent: then the call is over, and so is video."""
    budget = Budget(IntentPolicy(signaling_bytes=8_000, reserved_signaling_bytes=1_000))
    now_ms, removals = NOW_MS, 0
    for kind, text, video_flows, pause_ms in sent:
        now_ms += pause_ms
        removes = video_flows and text == WITHOUT_VIDEO
        try:
            if kind == "offer":
                budget.offer(text, now_ms, video_flows=video_flows)
            elif kind == "answer":
                budget.answer(text, video_flows=video_flows)
            else:
                budget.candidates([IceCandidate(candidate=text)])
        except BudgetSpent:
            return
        except MinuetError:
            # Only its own kind can use the reserve up.
            assert not removes or removals >= 2
        removals += removes

    if removals == 0:
        budget.offer(WITHOUT_VIDEO, now_ms, video_flows=True)
        budget.answer(WITHOUT_VIDEO, video_flows=True)


def test_open_offers_of_the_other_side_take_nothing_away() -> None:
    """Whoever floods the other with offers does not keep a revocation from being negotiated."""
    exchange, nothing = Negotiations(10_000), Allowance()
    for number in range(8):
        exchange.offer("b", number, VOICE, nothing, 0)

    with pytest.raises(MinuetError) as refused:
        exchange.offer("b", 8, VOICE, nothing, 0)

    assert refused.value.code is ErrorCode.RATE_LIMITED
    exchange.offer("a", 0, WITHOUT_VIDEO, nothing, 0)
