"""A pool is left to another matchmaker only where that one serves it: else it is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from matchmaker.ports import Lease
from matchmaker.spread import spread
from matchmaker.worker import run_matchmaker
from storage.redis.queues import RedisQueues
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import Scene

POOL = "friends"
TTL_MS = 2_000


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools change hands soon, so that a test sees many changes if there are any."""
    monkeypatch.setattr("matchmaker.roster.STEADY_MS", 200)
    monkeypatch.setattr("matchmaker.roster.TRIED_MS", 1_000)
    monkeypatch.setattr("matchmaker.roster.ENROL_S", 0.1)


def preferred_to(member: str) -> str:
    """A matchmaker that would be the one to serve the pool, were it to serve it."""
    names = (f"other-{number}" for number in range(99))
    return next(name for name in names if spread({POOL: (member, name)})[POOL] == name)


@asynccontextmanager
async def running_beside(scene: Scene, member: str, *pools: str) -> AsyncIterator[None]:
    """The matchmaker "one" serves the pool, while another is on the roster that serves nothing."""

    async def stand() -> None:
        while True:
            await scene.queues.enrol(member, pools, ttl_ms=TTL_MS)
            await asyncio.sleep(0.1)

    standing = asyncio.create_task(stand())
    serving = asyncio.create_task(run_matchmaker({POOL: scene.policies[POOL]}, scene.worker_ports, "one"))
    try:
        yield
    finally:
        for task in (standing, serving):
            task.cancel()
        await asyncio.gather(standing, serving, return_exceptions=True)


def takeovers(scene: Scene) -> float:
    return scene.registry.get_sample_value("minuet_pool_takeovers_total", {"intent": POOL}) or 0


def is_owner(scene: Scene, member: str) -> Callable[[], object]:
    async def owns() -> bool:
        token = await scene.redis.get(scene.keys.pool_owner(POOL))
        return token is not None and f"-{member}." in token.decode()

    return owns


async def test_a_pool_is_not_left_to_one_that_serves_other_pools(scene: Scene) -> None:
    """As while another configuration of intents is being rolled out."""
    async with running_beside(scene, preferred_to("one"), "arts", "books"):
        await until(is_owner(scene, "one"), timeout_s=10)
        await asyncio.sleep(2)

        assert takeovers(scene) == 1


async def test_a_pool_that_was_given_up_in_vain_is_kept(scene: Scene) -> None:
    """The other stands for it and does not take it: it is left to that one once, not again and again."""
    async with running_beside(scene, preferred_to("one"), POOL):
        await until(lambda: takeovers(scene) == 2, timeout_s=10)
        await until(is_owner(scene, "one"), timeout_s=10)
        await asyncio.sleep(3)

        assert takeovers(scene) == 2


class Hanging(RedisQueues):
    """Pools whose leases are never answered."""

    async def take_lease(self, pool: str, nonce: str, *, ttl_ms: int) -> Lease:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_worker_that_hangs_stands_for_nothing(scene: Scene) -> None:
    """Its process lives, and is on the roster for what else it serves; the pool is another's for good."""
    other = preferred_to("one")
    ports = replace(scene.worker_ports, queues=Hanging(scene.redis, scene.keys))
    hanging = asyncio.create_task(run_matchmaker({POOL: scene.policies[POOL]}, ports, other))

    async def stands() -> bool:
        return await scene.queues.enrol("asking", (), ttl_ms=0) == {POOL: {other}}

    async def nobody_stands() -> bool:
        return await scene.queues.enrol("asking", (), ttl_ms=0) == {}

    try:
        await until(stands)
        await until(nobody_stands, timeout_s=20)
    finally:
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
