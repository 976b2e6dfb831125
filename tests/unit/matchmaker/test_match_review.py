"""What a pool's owner does about a match that is not live yet."""

import pytest

from base.ids import CallId
from matchmaker.matches import Match, MatchRecord, Progress, decode_match, encode_match, seated
from matchmaker.ports import CallOutcome, CallStage
from matchmaker.review import AnnounceAgain, FinishEntering, Release, Settle, Wait, next_step
from tests.unit.matchmaker.people import ticket_of

CLAIMED_AT = 1_000_000
ANNOUNCED, ACKNOWLEDGED, RESOLVED = Progress
MATCH = Match(
    call_id=CallId("call-1"),
    intent="friends",
    claimed_at_ms=CLAIMED_AT,
    a=seated(ticket_of("ann")),
    b=seated(ticket_of("bob", queued_at=5)),
)
ABSENT = CallOutcome(CallStage.ABSENT)
SETTING_UP = CallOutcome(CallStage.SETTING_UP)
LIVE = CallOutcome(CallStage.LIVE)
BOB_RETURNS = CallOutcome(CallStage.ENDED, frozenset({"b"}))


def after(ms: int, a: Progress, b: Progress, outcome: CallOutcome | None = None) -> object:
    """The step for a match of that age."""
    return next_step(MatchRecord(MATCH, a, b), outcome, CLAIMED_AT + ms)


def test_a_fresh_match_is_left_to_the_hubs() -> None:
    """Within half a second nothing is done."""
    assert after(499, ANNOUNCED, ANNOUNCED) == Wait()


def test_a_match_that_one_side_did_not_acknowledge_is_announced_again() -> None:
    """One silent side is enough; two that know are left alone."""
    assert after(500, ACKNOWLEDGED, ANNOUNCED) == AnnounceAgain()
    assert after(500, ACKNOWLEDGED, ACKNOWLEDGED) == Wait()


def test_steps_into_an_existing_call_are_finished_for_a_silent_side() -> None:
    """After 2 s the owner does what the side's node has not done."""
    assert after(2_000, ACKNOWLEDGED, ANNOUNCED, SETTING_UP) == FinishEntering(("b",))
    assert after(2_000, ACKNOWLEDGED, ACKNOWLEDGED, SETTING_UP) == Wait()


def test_a_live_call_uses_its_match_up() -> None:
    """Sides that never entered are entered first, so that their slots name the call."""
    assert after(2_000, ACKNOWLEDGED, ACKNOWLEDGED, LIVE) == Settle(())
    assert after(2_000, ANNOUNCED, ACKNOWLEDGED, LIVE) == Settle(("a",))


def test_an_ended_call_resolves_the_sides_that_are_open() -> None:
    """Who goes back is the call's word; a side that is resolved already is not touched again."""
    assert after(3_000, ACKNOWLEDGED, ACKNOWLEDGED, BOB_RETURNS) == Release(
        ("a", "b"), frozenset({"b"}), expired=False
    )
    assert after(3_000, RESOLVED, ACKNOWLEDGED, BOB_RETURNS) == Release(
        ("b",), frozenset({"b"}), expired=False
    )


def test_who_declined_is_known_to_whoever_finishes_it() -> None:
    """So that the pause is counted also where the hub that heard of it died."""
    outcome = CallOutcome(CallStage.ENDED, frozenset({"b"}), declined=frozenset({"a"}))

    step = after(3_000, ACKNOWLEDGED, RESOLVED, outcome)

    assert step == Release(("a",), frozenset({"b"}), expired=False, declined=frozenset({"a"}))


@pytest.mark.parametrize("outcome", [LIVE, BOB_RETURNS, SETTING_UP])
def test_calls_are_looked_at_only_when_hubs_had_their_time(outcome: CallOutcome) -> None:
    """Before 2 s whatever the call says is the hubs' business."""
    assert after(1_999, ACKNOWLEDGED, ACKNOWLEDGED, outcome) == Wait()


def test_both_sides_return_when_no_call_came() -> None:
    """Hubs create none after 10 s; at 12 s both go back. Until then the match is announced again."""
    assert after(11_999, ANNOUNCED, ANNOUNCED, ABSENT) == AnnounceAgain()
    assert after(12_000, ANNOUNCED, ANNOUNCED, ABSENT) == Release(
        ("a", "b"), frozenset({"a", "b"}), expired=True
    )


def test_a_match_travels_whole() -> None:
    """What is decoded equals what was encoded, and each seat knows itself and its peer."""
    assert decode_match(encode_match(MATCH)) == MATCH
    assert (MATCH.ref("b").user_id, MATCH.ref("b").peer_id) == ("bob", "ann")
    assert MATCH.ref("a").ticket_id == "ticket-ann"
