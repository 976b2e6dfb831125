"""The client of a cluster whose primaries are killed, paused and replaced."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from base.errors import Unavailable
from storage.redis.client import connect, unavailable_when_away
from storage.redis.cluster import ClusterRedis
from storage.redis.metrics import ClusterMetrics
from storage.redis.slots import Address
from tests.fixtures.cluster import Cluster

COUNTERS = [f"counter {number}" for number in range(24)]
INCREMENT = "return redis.call('INCR', KEYS[1])"


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def redis(private_cluster: Cluster, metrics: CollectorRegistry) -> AsyncIterator[ClusterRedis]:
    # Patient for longer than a failover takes on a machine that is busy with other tests.
    client = connect(private_cluster.url, timeout_s=10, cluster=True, metrics=ClusterMetrics(metrics))
    assert isinstance(client, ClusterRedis)
    yield client
    await client.aclose()


class Crowd:
    """Many who count up at once, each a counter of their own, and how often they were told it is done."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._increment = redis.register_script(INCREMENT)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False
        self.counted = dict.fromkeys(COUNTERS, 0)
        self.refused: list[Exception] = []

    async def __aenter__(self) -> "Crowd":
        self._tasks = [asyncio.create_task(self._count(name)) for name in COUNTERS]
        await self.progress()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def progress(self) -> None:
        """Returns when everyone has counted on."""
        before = dict(self.counted)
        async with asyncio.timeout(30):
            while any(self.counted[name] == before[name] for name in COUNTERS):
                await asyncio.sleep(0.02)

    async def stored(self) -> dict[str, int]:
        return {name: int(await self._redis.get(name)) for name in COUNTERS}

    async def _count(self, name: str) -> None:
        while not self._is_over:
            try:
                await self._increment(keys=[name])
                self.counted[name] += 1
            except (RedisError, OSError) as error:
                self.refused.append(error)
            await asyncio.sleep(0.01)


async def test_a_killed_primarys_commands_wait_for_its_replica(
    redis: ClusterRedis, private_cluster: Cluster, metrics: CollectorRegistry
) -> None:
    """Nobody is told of a failover that is short enough; afterwards everything goes on at the successor."""
    async with Crowd(redis) as crowd:
        killed = await private_cluster.primary_of(COUNTERS[0])
        await private_cluster.kill(killed)
        successor = await private_cluster.failed_over(killed)
        await crowd.progress()

    assert crowd.refused == []
    assert redis.topology.primary_of(COUNTERS[0]) == Address("127.0.0.1", successor.port)
    assert (metrics.get_sample_value("minuet_redis_cluster_waits_total") or 0) > 0
    assert (metrics.get_sample_value("minuet_redis_cluster_changes_total") or 0) >= 2
    assert metrics.get_sample_value("minuet_redis_cluster_primaries") == 3


async def test_a_hand_over_is_not_noticed(
    redis: ClusterRedis, private_cluster: Cluster, metrics: CollectorRegistry
) -> None:
    """Everything that was acknowledged is there, once; and again where the old primary takes over again."""
    async with Crowd(redis) as crowd:
        first = await private_cluster.primary_of(COUNTERS[0])
        second = await private_cluster.hand_over(first)
        await crowd.progress()
        third = await private_cluster.hand_over(second)
        await crowd.progress()

    assert third is first
    assert crowd.refused == []
    assert await crowd.stored() == crowd.counted
    assert (metrics.get_sample_value("minuet_redis_cluster_redirects_total", {"kind": "moved"}) or 0) > 0
    assert metrics.get_sample_value("minuet_redis_cluster_given_up_total") == 0


async def test_a_primary_that_does_not_answer_is_replaced(private_cluster: Cluster) -> None:
    """Its socket takes commands and nobody answers: given up after the time that an answer may take."""
    redis = connect(private_cluster.url, timeout_s=3, cluster=True)
    async with Crowd(redis) as crowd:
        paused = await private_cluster.primary_of(COUNTERS[0])
        paused.pause()
        try:
            await private_cluster.failed_over(paused)
            await crowd.progress()
        finally:
            paused.resume()
        await private_cluster.whole()
        await crowd.progress()
    await redis.aclose()

    assert crowd.refused == []


async def test_what_a_stale_replica_lost_is_gone_and_the_client_goes_on(
    redis: ClusterRedis, private_cluster: Cluster
) -> None:
    """The client promises nothing about data; it finds the new primary."""
    primary = await private_cluster.primary_of("a")
    await redis.set("a", "before")
    await private_cluster.ask(primary, "WAIT", 1, 5_000)
    async with private_cluster.unreplicated(primary):
        await redis.set("a", "after")
        await private_cluster.lose_acknowledged(primary)

    assert await redis.get("a") == b"before"


async def test_without_a_replica_a_slot_is_unavailable_and_the_others_are_not(
    private_cluster: Cluster,
) -> None:
    """After the patience of one outage each command fails at once, and what is asked elsewhere is answered."""
    for node in private_cluster.nodes:
        await private_cluster.ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    redis = connect(private_cluster.url, timeout_s=1, cluster=True)
    lost = await private_cluster.primary_of("a")
    owners = {name: await private_cluster.primary_of(name) for name in COUNTERS}
    elsewhere = next(name for name, owner in owners.items() if owner is not lost)
    await redis.set(elsewhere, "v")
    await private_cluster.kill(await private_cluster.replica_of(lost))
    await private_cluster.kill(lost)

    with pytest.raises(Unavailable), unavailable_when_away():
        await redis.get("a")
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable), unavailable_when_away():
            await redis.get("a")
    took_s = time.monotonic() - started
    with pytest.raises(RedisError):
        await redis.ping()
    async with redis.pipeline(transaction=False) as pipe:
        pipe.get(elsewhere)
        pipe.get("a")
        there, away = await pipe.execute(raise_on_error=False)
    await redis.aclose()

    assert took_s < 10
    assert there == b"v"
    assert isinstance(away, RedisError)
