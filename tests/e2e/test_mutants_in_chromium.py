"""The gate and the browser agree about what nobody thought of: mutants that the gate lets pass, replayed in Chromium.

A longer hunt: MINUET_MUTANTS=5000 MINUET_MUTANTS_SEED=7 pytest tests/e2e/test_mutants_in_chromium.py
"""

import os
from itertools import islice

import pytest

from tests.corpus.cases import ACCEPTED
from tests.corpus.judging import verdict
from tests.corpus.mutants import Mutant, mutants
from tests.e2e.replay import Description, Outcome, replay
from tests.fixtures.tools import find_tool

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

COUNT = int(os.environ.get("MINUET_MUTANTS", "300"))
SEED = int(os.environ.get("MINUET_MUTANTS_SEED", "1"))
# What may flow at the one who applies a description, by the least permission with which it passes. Those that need
# permission for both directions prove nothing.
FLOWS: dict[str, set[str]] = {"voice": set(), "receive": {"sendonly"}, "send": {"recvonly"}}


def least_permission(mutant: Mutant) -> str | None:
    """None for what passes under none of them."""
    permissions = (each for each in FLOWS if verdict(mutant.sdp, mutant.offer, each) == ACCEPTED)
    return next(permissions, None)


def breaks(outcome: Outcome, permission: str) -> bool:
    """Whether more flows than was allowed."""
    if outcome["refused"] is not None:
        return False
    announced = {"recvonly"} if "video" in outcome["tracks"] else set()
    flows = {*outcome["video"], *announced}
    return not flows <= FLOWS[permission] or len(outcome["video"]) > 1 or outcome["data"]


def test_no_mutant_that_passes_gets_more_than_it_may() -> None:
    """No video, or only in the direction that was allowed; no data channel; and the hunt finds enough to try."""
    program = find_tool("chromium")
    passing = ((mutant, least_permission(mutant)) for mutant in mutants(SEED))
    chosen = list(islice(((mutant, found) for mutant, found in passing if found), COUNT))
    wanted: list[Description] = [
        {"id": str(number), "kind": mutant.kind, "sdp": mutant.sdp, "offer": mutant.offer}
        for number, (mutant, _) in enumerate(chosen)
    ]

    outcomes = replay(program, wanted)

    applied = 0
    for number, (mutant, permission) in enumerate(chosen):
        for outcome in outcomes[str(number)]:
            applied += outcome["refused"] is None
            assert not breaks(outcome, permission), (SEED, permission, mutant.base, outcome, mutant.sdp)
    assert applied > COUNT / 2
