"""Leases of node incarnations in Redis: who lives, with what counts, until when."""

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import NodeId
from presence.nodes import LEASE_TTL_MS, NodeInfo, NodeStats, UserState
from storage.redis.client import connect
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from tests.contract.presence.incarnations import STATS, LoseLease, MakeNode


async def test_a_node_with_a_lease_lives_and_is_described(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis
) -> None:
    """Role, start, last renewal and its own counts, as it gave them."""
    hub, worker = incarnation("serve", 1_000), incarnation("worker", 2_000)
    renewal = await nodes.acquire(hub, STATS)
    await nodes.acquire(worker, NodeStats())
    first, second = await nodes.nodes()
    seconds, micros = await redis.time()

    assert renewal.held
    assert abs(renewal.store_ms - (seconds * 1000 + micros // 1000)) < 1_000
    assert await nodes.living() == {hub.node_id, worker.node_id}
    assert first == NodeInfo(hub.node_id, "serve", 1_000, first.renewed_at, STATS)
    assert second == NodeInfo(worker.node_id, "worker", 2_000, second.renewed_at, NodeStats())
    assert abs(first.renewed_at - renewal.store_ms) < 1_000


async def test_renewing_replaces_the_counts(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """What a node no longer counts is gone: numbers cannot pile up."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await nodes.renew(hub, NodeStats(users={UserState.QUEUED: 7}))
    (described,) = await nodes.nodes()

    assert described.stats == NodeStats(users={UserState.QUEUED: 7})


async def test_counts_that_this_release_does_not_know_are_passed_over(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """A node of a newer release counts more; the older one still reads what it knows."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await redis.hset(keys.node_stats(hub.node_id), mapping={"users:dreaming": 1, "moons": 2})
    (described,) = await nodes.nodes()

    assert described.stats == STATS


async def test_a_lease_ends_by_itself(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """The store gives it and the counts at most four seconds; nobody has to notice."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert 0 < await redis.pttl(keys.node_lease(hub.node_id)) <= LEASE_TTL_MS
    assert 0 < await redis.pttl(keys.node_stats(hub.node_id)) <= LEASE_TTL_MS


async def test_a_lease_that_ended_cannot_be_renewed(
    nodes: RedisNodes, incarnation: MakeNode, lose_lease: LoseLease
) -> None:
    """Others may have acted on its death: the incarnation stays dead, whatever it says."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await lose_lease(hub)
    renewal = await nodes.renew(hub, STATS)

    assert not renewal.held
    assert renewal.store_ms > 0
    assert await nodes.living() == set()
    assert await nodes.nodes() == []


async def test_acquiring_again_after_a_lost_answer_is_held(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """An id belongs to one incarnation, so its lease can only be its own."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert (await nodes.acquire(hub, STATS)).held


async def test_a_late_renewal_in_the_list_does_not_kill_a_node_with_a_lease(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """The lease is the truth, the list only says where to look."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await redis.zincrby(keys.nodes(), -60_000, hub.node_id)

    assert await nodes.living() == {hub.node_id}
    assert await nodes.dead() == []


async def test_each_renewal_sends_the_inbox_a_canary(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """It carries the store's time in microseconds, so that its lag is known where it arrives."""
    hub, server, subscribe = incarnation(), redis, "SUBSCRIBE"
    channel = keys.node_inbox(hub.node_id)
    if isinstance(redis, ClusterRedis):
        await redis.topology.refresh()
        primary = redis.topology.primary_of(channel)
        assert primary is not None
        server, subscribe = redis.node(primary), "SSUBSCRIBE"
    async with server.pubsub() as inbox:
        await inbox.execute_command(subscribe, channel)
        await inbox.parse_response(timeout=1)
        acquired = await nodes.acquire(hub, STATS)
        renewed = await nodes.renew(hub, STATS)
        canaries = [(await inbox.parse_response(timeout=1))[2] for _ in range(2)]

    assert [canary[:1] for canary in canaries] == [b"~", b"~"]
    assert [int(canary[1:]) // 1000 for canary in canaries] == [acquired.store_ms, renewed.store_ms]


async def test_a_released_node_is_gone_at_once(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis
) -> None:
    """A clean end leaves nothing behind."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await nodes.release(hub.node_id)

    assert await nodes.living() == set()
    assert await redis.keys("test:*") == []


async def test_a_living_node_is_never_forgotten(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """Even somebody who believes it dead cannot remove it."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert not await nodes.forget(hub.node_id)
    assert await nodes.living() == {hub.node_id}


async def test_without_a_store_everything_is_unavailable(keys: Keys, incarnation: MakeNode) -> None:
    """An outage reaches callers as the one error that they handle."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    nodes, hub = RedisNodes(redis, keys), incarnation()
    calls = [
        nodes.acquire(hub, STATS),
        nodes.renew(hub, STATS),
        nodes.release(hub.node_id),
        nodes.living(),
        nodes.nodes(),
        nodes.dead(),
        nodes.listed_sessions(NodeId("n"), limit=1),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    await redis.aclose()
