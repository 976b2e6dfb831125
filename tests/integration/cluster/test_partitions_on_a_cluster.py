"""What is looked for in all 256 partitions while one primary of three is away."""

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import CallId
from signaling.call.record import Call
from signaling.call.states import State
from storage.redis.calls import RedisCallStore, RedisEndedCalls
from storage.redis.client import connect
from storage.redis.keys import CALL_PARTITIONS, Keys
from storage.redis.turn_visits import RedisTurnVisits
from tests.contract.calls.call_records import in_partition, moved, now_ms, proposed
from tests.fixtures.cluster import Cluster

KEYS = Keys("test:")
EVERY = range(0, CALL_PARTITIONS, 8)


@pytest.fixture
async def redis(private_cluster: Cluster) -> AsyncIterator[Redis]:
    client = connect(private_cluster.url, cluster=True)
    yield client
    await client.aclose()


async def without_one(cluster: Cluster) -> set[int]:
    """Kills a primary and its replica. The partitions that are left."""
    for node in cluster.nodes:
        await cluster.ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    lost = await cluster.primary_of(KEYS.calls_ended(EVERY[0]))
    left = {n for n in EVERY if await cluster.primary_of(KEYS.calls_ended(n)) is not lost}
    await cluster.kill(await cluster.replica_of(lost))
    await cluster.kill(lost)
    return left


async def test_what_is_due_elsewhere_is_found_at_once(redis: Redis, private_cluster: Cluster) -> None:
    """Timers, ended calls and visits of two thirds of the calls: nobody waits for the others' primary first."""
    store = RedisCallStore(redis, KEYS, visits_after_ms=(0,))
    ended, visits = RedisEndedCalls(redis, KEYS), RedisTurnVisits(redis, KEYS)
    waiting: dict[int, CallId] = {}
    over: dict[int, CallId] = {}
    for n in EVERY:
        waiting[n] = (await put(store, in_partition(n))).call_id
        over[n] = (await put(store, in_partition(n), ends=True)).call_id
    left = await without_one(private_cluster)

    started = time.monotonic()
    due = await store.due(overdue_ms=-3_600_000, limit=1_000)
    recorded = await ended.waiting(passing_over=())
    visited = await visits.take(limit=1_000, lease_ms=1_000)
    took_s = time.monotonic() - started

    assert 0 < len(left) < len(EVERY)
    assert set(due) == {waiting[n] for n in left}
    assert {call.call_id for call in recorded.calls} == {over[n] for n in left}
    assert {visit.call_id for visit in visited.due} == {over[n] for n in left}
    assert took_s < 10


async def test_without_any_primary_it_is_unavailable(redis: Redis, private_cluster: Cluster) -> None:
    """Nothing found is not nothing there."""
    store = RedisCallStore(redis, KEYS)
    await store.due(overdue_ms=0, limit=1)
    for node in private_cluster.nodes:
        await private_cluster.kill(node)

    with pytest.raises(Unavailable):
        await store.due(overdue_ms=0, limit=1)
    with pytest.raises(Unavailable):
        await RedisEndedCalls(redis, KEYS).waiting(passing_over=())


async def put(store: RedisCallStore, call_id: CallId, *, ends: bool = False) -> Call:
    """A call that waits for its timer, or one that talked and is over."""
    stored = await store.create(proposed(call_id=call_id), claimed_at_ms=now_ms())
    assert stored is not None
    if ends:
        for state in (State.LIVE, State.ENDED):
            stored = await store.commit(stored, moved(stored.call, state))
            assert stored is not None
    return stored.call
