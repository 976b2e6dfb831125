"""Pools of many thousands change hands, and lose a node, without anything else having to wait for that."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from base.ids import DeviceId, NodeId, TicketId, UserId
from base.policy import Gender, IntentPolicy
from matchmaker.activity import Queued
from matchmaker.ports import Caller, TicketState
from matchmaker.worker import PoolWorker
from tests.fixtures.waiting import until
from tests.integration.matchmaker.crowded_pools import fill
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import Somebody, ticket_of

WOMEN_WHO_WAIT = 20_000
BEATS_EVERY_S = 0.001


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is not lost because other processes have the machine for a moment: what is tried is whether it is renewed.

    Of a loop that stands still the beats tell, in time of its own.
    """
    for module in ("tenure", "worker"):
        monkeypatch.setattr(f"matchmaker.{module}.LEASE_MS", 12_000)


@pytest.fixture
def unpaused() -> Iterator[None]:
    """Without the collector's looks at all that the other tests have left: it is not they who are measured."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[None]:
    """A worker of its own serves the pool `dating`."""
    worker = asyncio.create_task(PoolWorker("dating", scene.policies["dating"], scene.worker_ports).run())
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


def takeovers(scene: Scene) -> float | None:
    return scene.registry.get_sample_value("minuet_pool_takeovers_total", {"intent": "dating"})


@dataclass
class Heart:
    """Beats in the loop; in time of this thread's own, so that a busy machine changes nothing."""

    longest_s: float = 0.0

    async def beat(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(BEATS_EVERY_S)
            now = time.thread_time()
            self.longest_s, last = max(self.longest_s, now - last), now


@pytest.mark.usefixtures("unpaused")
async def test_a_large_pool_is_learnt_without_the_loop_standing_still(scene: Scene) -> None:
    """Twenty thousand wait when it is taken: the lease is renewed meanwhile, and the longest waiting is served."""
    await fill(scene, WOMEN_WHO_WAIT)
    heart = Heart()
    beating = asyncio.create_task(heart.beat())
    began_s = time.thread_time()
    async with served(scene):
        man = Somebody("Bob", Gender.MALE, age=30)
        await scene.join("bob", intent="dating", person=man)
        (match, *_) = await scene.announcer.next(timeout_s=120)
        took_s = time.thread_time() - began_s
    beating.cancel()

    assert takeovers(scene) == 1
    assert match.a.user_id == "000000"
    assert heart.longest_s < took_s / 4


async def test_a_node_that_dies_with_a_crowd_does_not_drown_the_owner_in_events(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are paused, then dropped; the owner hears of it as it goes on, though Redis keeps few events."""
    monkeypatch.setattr("storage.redis.queues._EVENTS_AT_MOST", 600)
    scene.policies["dating"] = IntentPolicy(paused_s=2)
    await fill(scene, 3_000, node=NodeId("node-gone"), exclusions=0)
    await scene.activities.join(
        UserId("000007"), Caller(DeviceId("phone")), Queued("dating", TicketId("ticket-000007"))
    )
    async with served(scene):
        await until(lambda: stands(scene, waiting=0, paused=3_000), timeout_s=30)
        await until(lambda: stands(scene, waiting=0, paused=0), timeout_s=30)
        await until(lambda: is_idle(scene, UserId("000007")), timeout_s=30)

    assert takeovers(scene) == 1


async def is_idle(scene: Scene, user_id: UserId) -> bool:
    return (await scene.activities.read(user_id)).activity is None


async def stands(scene: Scene, **counts: int) -> bool:
    depth = await scene.depth("dating")
    return all(depth[state] == count for state, count in counts.items())


async def test_crowds_are_moved_in_parts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One script stops Redis for no more than some hundred tickets; who came back meanwhile is not paused."""
    sizes: list[int] = []
    pause = scene.queues.pause
    people = {TicketId(f"ticket-{number:06}"): f"{number:06}" for number in range(1_000)}

    async def counting(pool: str, ticket_ids: Sequence[TicketId], *, anew: bool = False) -> list[TicketState]:
        sizes.append(len(ticket_ids))
        if len(sizes) == 1:
            back = next(people[ticket_id] for ticket_id in people if ticket_id not in set(ticket_ids))
            await scene.queues.put(ticket_of(back, side=Gender.FEMALE, intent="dating"))
        return await pause(pool, ticket_ids, anew=anew)

    monkeypatch.setattr(scene.queues, "pause", counting)
    await fill(scene, 1_000, node=NodeId("node-gone"), exclusions=0)
    async with served(scene):
        await until(lambda: stands(scene, waiting=1, paused=999), timeout_s=30)

    assert sizes[:2] == [500, 499]


@pytest.mark.usefixtures("unpaused")
async def test_whoever_arrives_while_a_large_pool_is_learnt_does_not_wait_for_that(scene: Scene) -> None:
    """He meets the woman who has waited longest, before the owner has learnt enough to describe its pool."""
    await fill(scene, WOMEN_WHO_WAIT)
    async with served(scene):
        await scene.join("bob", intent="dating", person=Somebody("Bob", Gender.MALE, age=30))
        (match, *_) = await scene.announcer.next(timeout_s=120)
        described = await scene.queues.outlook("dating")
        await until(lambda: is_described(scene), timeout_s=120)

    assert match.a.user_id == "000000"
    assert described is None


async def test_what_happens_to_a_place_while_the_pool_is_learnt_counts(scene: Scene) -> None:
    """Found waiting, and paused or left before it was learnt: nobody is matched with it, and its pause ends in time."""
    scene.policies["dating"] = IntentPolicy(paused_s=2)
    await fill(scene, 4_000)
    late = [TicketId(f"ticket-{number:06}") for number in range(3_000, 4_000)]
    async with served(scene):
        await until(lambda: scene.redis.exists(scene.keys.pool_owner("dating")))
        for start in range(0, 1_000, 100):
            await scene.queues.pause("dating", late[start : start + 50])
            for ticket_id in late[start + 50 : start + 100]:
                await scene.queues.leave("dating", ticket_id)
        await until(lambda: stands(scene, waiting=3_000, paused=0), timeout_s=60)
        await until(lambda: knows(scene, 3_000), timeout_s=60)

    assert takeovers(scene) == 1


async def is_described(scene: Scene) -> bool:
    return await scene.queues.outlook("dating") is not None


async def knows(scene: Scene, women: int) -> bool:
    """Whether the owner counts so many who wait."""
    labels = {"intent": "dating", "side": "female"}
    return scene.registry.get_sample_value("minuet_queue_tickets", labels) == women
