"""What each part of the store says of itself, so that a loss is noticed. Contract of `presence.ports.LeaseStore.marks`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from minuet.embedded import EmbeddedValkey
from presence.continuity import RESTORING_MS, Continuity, Mark
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from tests.fixtures.cluster import Cluster


@pytest.fixture
async def clustered(private_cluster: Cluster, keys: Keys) -> AsyncIterator[RedisNodes]:
    redis = connect(private_cluster.url, cluster=True)
    yield RedisNodes(redis, keys)
    await redis.aclose()


async def test_marks_stay_what_they_are(nodes: RedisNodes, redis: Redis, keys: Keys) -> None:
    """However often they are asked for, and by whomever; what else is written changes nothing."""
    first = await nodes.marks()
    await redis.set(keys.user("ann"), "anything")
    other = await RedisNodes(redis, keys).marks()

    assert first == other == await nodes.marks()
    assert first
    assert all(mark.epoch and mark.history and mark.restoring_ms == 0 for mark in first)


async def test_an_emptied_store_has_other_marks(nodes: RedisNodes, redis: Redis) -> None:
    """Also where somebody else was there first and wrote new ones."""
    before = await nodes.marks()
    await redis.flushdb()
    after = await nodes.marks()

    assert [mark.part for mark in after] == [mark.part for mark in before]
    assert all(old.epoch != new.epoch for old, new in zip(before, after, strict=True))


async def test_newcomers_are_asked_to_hold_back(nodes: RedisNodes, redis: Redis, keys: Keys) -> None:
    """For a while only."""
    await nodes.marks()
    await nodes.ask_to_hold_back(3_000)
    during = await RedisNodes(redis, keys).marks()
    await asyncio.sleep(3.1)

    assert during
    assert all(0 < mark.restoring_ms <= 3_000 for mark in during)
    assert [mark.restoring_ms for mark in await nodes.marks()] == [0] * len(during)


async def test_who_finds_an_empty_store_where_others_listen_holds_back(
    nodes: RedisNodes, redis: Redis, keys: Keys, listening: Callable[[str], Awaitable[None]]
) -> None:
    """The others have not noticed yet that it was emptied: a newcomer that took it for fresh would grant what is taken."""
    await nodes.marks()
    await listening("01890000-0000-7000-8000-00000000000a")
    await redis.flushdb()
    newcomer, next_one = Continuity(), Continuity()
    newcomer.heard(await RedisNodes(redis, keys).marks(), 0)
    next_one.heard(await RedisNodes(redis, keys).marks(), 0)

    assert newcomer.restoring_ms(0) == RESTORING_MS
    assert 0 < next_one.restoring_ms(0) <= RESTORING_MS


async def test_who_finds_an_empty_store_and_nobody_else_begins_at_once(redis: Redis, keys: Keys) -> None:
    """The first node of all waits for nobody."""
    await redis.flushdb()
    continuity = Continuity()
    continuity.heard(await RedisNodes(redis, keys).marks(), 0)

    assert continuity.restoring_ms(0) == 0


@pytest.mark.parametrize("method", ["marks", "ask_to_hold_back"])
async def test_a_store_that_is_away_says_nothing(keys: Keys, method: str) -> None:
    """Nothing is known then, and nothing is wrong."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    nodes = RedisNodes(redis, keys)

    assert not await (nodes.marks() if method == "marks" else nodes.ask_to_hold_back(10))
    await redis.aclose()


async def test_a_server_that_starts_again_has_another_history(
    private_valkey: EmbeddedValkey, keys: Keys
) -> None:
    """With all its data: it may be older than what was told to it."""
    redis = connect(private_valkey.url, timeout_s=2)
    nodes = RedisNodes(redis, keys)
    (before,) = await nodes.marks()
    await asyncio.sleep(1.2)
    await private_valkey.kill()
    away = await nodes.marks()
    await private_valkey.start()
    (after,) = await nodes.marks()
    await redis.aclose()

    assert away == []
    assert (after.part, after.epoch) == (before.part, before.epoch)
    assert after.history != before.history


async def test_each_primary_of_a_cluster_is_asked(clustered: RedisNodes, private_cluster: Cluster) -> None:
    """One of them is emptied, one fails and is succeeded: each is noticed, and the others are well meanwhile."""
    continuity = Continuity()
    before = await _all_three(clustered)
    continuity.heard(before, 0)
    histories = {mark.history for mark in before}
    emptied = await private_cluster.primary_of(_key(before[0]))
    async with private_cluster.connected(emptied) as redis:
        await redis.flushall()
    after_flush = await _all_three(clustered)
    failing = await private_cluster.primary_of(_key(before[1]))
    await private_cluster.kill(failing)
    async with asyncio.timeout(10):
        meanwhile = await clustered.marks()
    await private_cluster.failed_over(failing)
    after_failover = await _all_three(clustered)

    assert len(histories) == 3
    assert _changed(before, after_flush) == {before[0].part}
    assert continuity.heard(after_flush, 1)
    assert {mark.part for mark in meanwhile} == {before[0].part, before[2].part}
    assert not continuity.heard(meanwhile, 2)
    assert _changed(after_flush, after_failover) == {before[1].part}
    assert continuity.heard(after_failover, 3)


async def _all_three(nodes: RedisNodes) -> list[Mark]:
    async with asyncio.timeout(20):
        while len(marks := await nodes.marks()) < 3:
            await asyncio.sleep(0.1)
    return marks


def _key(mark: Mark) -> str:
    return Keys("test:").epoch(int(mark.part))


def _changed(before: list[Mark], after: list[Mark]) -> set[str]:
    known = {mark.part: (mark.epoch, mark.history) for mark in before}
    return {mark.part for mark in after if known[mark.part] != (mark.epoch, mark.history)}
