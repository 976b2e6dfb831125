"""The worker that ends allocations: patience, several servers, giving up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from base.errors import Unavailable
from base.ids import CallId
from jobs.allocations import AllocationEnder, VisitPace
from jobs.metrics import AllocationMetrics
from jobs.ports import TurnUnavailable, Visits
from tests.unit.jobs.memory_visits import MemoryTurnVisits

CALL, OTHER = CallId("call-1"), CallId("call-2")


@dataclass
class Turnserver:
    """A TURN server that holds so many allocations of each call."""

    name: str
    holds: dict[CallId, int] = field(default_factory=dict)
    away: bool = False
    silent: bool = False
    asked: list[list[CallId]] = field(default_factory=list)

    async def end_allocations(self, call_ids: Sequence[CallId]) -> int:
        self.asked.append(list(call_ids))
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise TurnUnavailable("away")
        return sum(self.holds.pop(call_id, 0) for call_id in call_ids)


class Scene:
    def __init__(self, *servers: Turnserver, pace: VisitPace | None = None) -> None:
        self.now_ms = 1_000_000
        self.visits = MemoryTurnVisits(lambda: self.now_ms)
        self.registry = CollectorRegistry()
        metrics = AllocationMetrics(self.registry)
        self.ender = AllocationEnder(self.visits, servers, metrics, lambda: 0.0, pace=pace)

    async def at(self, seconds: float) -> int:
        """Looks that much later; how many visits were taken."""
        self.now_ms += round(seconds * 1000)
        return await self.ender.visit_due()

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"minuet_turn_{name}", labels) or 0


async def test_every_server_is_asked_at_each_time_that_was_set() -> None:
    """Which of them a client used, nobody here knows."""
    east, west = Turnserver("east", {CALL: 2}), Turnserver("west")
    scene = Scene(east, west)
    scene.visits.add(CALL, 0, 5_000)
    await scene.at(0)
    west.holds[CALL] = 1
    early = await scene.at(4)
    await scene.at(1)

    assert east.asked == west.asked == [[CALL], [CALL]]
    assert early == 0
    assert west.holds == {}
    assert len(scene.visits) == 0
    assert scene.count("allocations_ended_total") == 3
    assert scene.count("visits_total", result="done") == 2


async def test_while_one_server_is_away_the_others_are_served_and_it_is_asked_again() -> None:
    """The visit stays, for ever longer pauses."""
    east, west = Turnserver("east", away=True), Turnserver("west", {CALL: 1})
    scene = Scene(east, west)
    scene.visits.add(CALL, 0)
    await scene.at(0)
    assert west.holds == {}
    times = [await scene.at(1) for _ in range(8)]
    east.away, east.holds = False, {CALL: 1}
    await scene.at(30)

    assert times == [1, 1, 1, 0, 1, 0, 0, 1]
    assert east.holds == {}
    assert len(scene.visits) == 0
    assert scene.count("admin_failures_total", server="east") == len(east.asked) - 1


async def test_a_server_that_hangs_holds_up_nobody_for_long() -> None:
    """It counts as away."""
    scene = Scene(Turnserver("east", silent=True), pace=VisitPace(patience_s=0.01))
    scene.visits.add(CALL, 0)
    await scene.at(0)

    assert len(scene.visits) == 1
    assert scene.count("visits_total", result="postponed") == 1


async def test_a_server_that_stays_away_is_given_up_and_that_is_counted() -> None:
    """Nothing waits for ever for one that was taken down."""
    scene = Scene(Turnserver("east", away=True))
    scene.visits.add(CALL, 0)
    await scene.at(0)
    await scene.at(901)

    assert len(scene.visits) == 0
    assert scene.count("visits_total", result="given_up") == 1


async def test_a_call_that_is_due_twice_is_asked_about_once() -> None:
    """After an outage all its visits are due."""
    server = Turnserver("east", {CALL: 1, OTHER: 1})
    scene = Scene(server)
    scene.visits.add(CALL, 0, 5_000)
    scene.visits.add(OTHER, 1_000)
    await scene.at(6)

    assert server.asked == [[CALL, OTHER]]
    assert len(scene.visits) == 0


async def test_a_store_that_is_away_is_waited_out() -> None:
    """The worker's task does not end by it."""

    class Away(MemoryTurnVisits):
        looks = 0

        async def take(self, *, limit: int, lease_ms: int) -> Visits:
            self.looks += 1
            if self.looks < 3:
                raise Unavailable("Redis")
            return await super().take(limit=limit, lease_ms=lease_ms)

    server = Turnserver("east", {CALL: 1})
    visits = Away(lambda: 1_000_000)
    visits.add(CALL, 0)
    metrics = AllocationMetrics(CollectorRegistry())
    ender = AllocationEnder(visits, [server], metrics, lambda: 0.0, pace=VisitPace(idle_s=0.001))
    running = asyncio.create_task(ender.run())
    async with asyncio.timeout(10):
        while len(visits):
            await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert server.holds == {}
