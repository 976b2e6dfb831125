"""The short chaos runs: a few minutes of all that can break, over people who live on real sockets meanwhile.

The seed is drawn and printed; `CHAOS_SEED` repeats one. See docs/chaos.md.
"""

import os
import secrets
import sys
from pathlib import Path

import pytest

from tests.chaos.deployment import Layout
from tests.chaos.faults import Fault
from tests.chaos.faults_load import CROWD
from tests.chaos.faults_processes import KillProcess, RollHubs
from tests.chaos.faults_stores import LoseFailover
from tests.chaos.run import Plan, run
from tests.chaos.schedule import draw, groups
from tests.chaos.swarm_world import CONFIG, Habits

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.chaos,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the proofs of faults are read from /proc"),
]

PEOPLE = 200
POSTGRES_S = 6.0


@pytest.fixture
def seed() -> int:
    """As told, else a new one; printed, so that it can be told."""
    told = os.environ.get("CHAOS_SEED")
    seed = int(told) if told else secrets.randbelow(1_000_000)
    print(f"CHAOS_SEED={seed}")
    return seed


async def test_every_promise_is_kept_whatever_breaks(seed: int, tmp_path: Path) -> None:
    """Processes die and stand still, networks stall, Redis forgets, PostgreSQL is away, far too many come: one fault after
    another, each proven; people get through after each, and the checker finds no broken promise in what they were told."""
    layout = Layout(config=CONFIG + CROWD, max_sessions=PEOPLE + PEOPLE // 5)
    faults = draw(seed, layout, groups(layout, postgres_s=POSTGRES_S))

    report = await run(Plan(seed, PEOPLE, layout, faults, least_calls=PEOPLE), tmp_path)

    assert report.ok, report.text()


async def test_a_cluster_that_loses_acknowledged_writes_breaks_no_promise(seed: int, tmp_path: Path) -> None:
    """A primary dies with what its replica never had, and a hub after it: nobody is thrown out, nothing is told twice."""
    layout = Layout(cluster=True, matchmakers=1, workers=1, config=CONFIG)
    faults: list[Fault] = [LoseFailover(seed % 3, 1.0, 1.0), KillProcess("hub-1", 0.5)]

    report = await run(Plan(seed, PEOPLE // 4, layout, faults, least_calls=PEOPLE // 8), tmp_path)

    assert report.ok, report.text()


async def test_nobody_notices_a_rolling_restart_under_load(seed: int, tmp_path: Path) -> None:
    """All workers of a hub are replaced in the middle of everything: no reset, no lost session, no lost call."""
    layout = Layout(hubs=1, hub_workers=2, matchmakers=1, workers=1, config=CONFIG)
    faults: list[Fault] = [RollHubs("hub-1")]

    # Nobody ends a connection by themselves: so each one that ends was ended by the restart.
    habits = Habits(reloads=0.0, leaves=0.0)

    plan = Plan(seed, PEOPLE // 2, layout, faults, habits, least_calls=PEOPLE // 4, unnoticed=True)
    report = await run(plan, tmp_path)

    assert report.ok, report.text()
