"""What becomes of a node and its lease when the store dies or forgets everything."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.errors import Unavailable
from base.ids import IdFactory, NodeId
from minuet.embedded import EmbeddedValkey
from presence.continuity import RESTORING_MS
from presence.metrics import PresenceMetrics
from presence.node_lease import NodeLease
from presence.nodes import LEASE_TTL_MS, NodeStats, UserState
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from tests.fixtures.waiting import WAIT_S, until

KEYS = Keys("test:")
TTL_S = LEASE_TTL_MS / 1000


class Node:
    """A lease in this process."""

    def __init__(self, redis: Redis) -> None:
        self.clock = ServerClock(SystemClock())
        self.nodes = RedisNodes(redis, KEYS)
        self.registry = CollectorRegistry()
        self.stats = NodeStats(users={UserState.QUEUED: 3})
        self.lease = NodeLease(
            self.nodes,
            "serve",
            self.clock,
            IdFactory(self.clock.now_ms, os.urandom).new,
            lambda: self.stats,
            PresenceMetrics(self.registry),
        )
        self.incarnations: list[tuple[NodeId, NodeId]] = []

        self.put_back_as: list[NodeId] = []

    async def remember(self, old: NodeId, new: NodeId) -> None:
        self.incarnations.append((old, new))

    async def put_back(self) -> None:
        self.put_back_as.append(self.lease.node_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.lease.run())
            async with asyncio.timeout(WAIT_S):
                await self.lease.acquired()
            yield self
            running.cancel()


async def _renewals(redis: Redis) -> int:
    """How many scripts the server has run."""
    stats = await redis.info("commandstats")
    return sum(int(stats.get(name, {}).get("calls", 0)) for name in ("cmdstat_evalsha", "cmdstat_eval"))


async def test_a_lease_is_kept_and_the_stores_time_is_known(redis: Redis) -> None:
    """Over several renewals the node stays the same, is listed with its counts, and tells the store's time."""
    async with Node(redis).running() as node:
        await asyncio.sleep(2.2)
        (described,) = await node.nodes.nodes()
        before = node.clock.now_ms()
        seconds, micros = await redis.time()
        after = node.clock.now_ms()
        now_ms = seconds * 1000 + micros // 1000

        assert described.node_id == node.lease.node_id
        assert described.stats == node.stats
        assert now_ms - described.renewed_at < LEASE_TTL_MS
        assert before - 250 < now_ms < after + 250
        assert node.clock.is_measured
        assert node.lease.is_settled
        assert not node.lease.is_lapsed
        assert node.registry.get_sample_value("minuet_presence_users", {"state": "queued"}) == 3
        assert 0 <= (node.registry.get_sample_value("minuet_lease_age_seconds") or 0) < TTL_S
        assert abs(node.registry.get_sample_value("minuet_clock_skew_seconds") or 0) < 0.25


async def test_a_released_lease_is_over_at_once(redis: Redis) -> None:
    """Nobody waits for it to run out, and the node does not take it again."""
    async with Node(redis).running() as node:
        await node.lease.release()
        await asyncio.sleep(1.2)

        assert await node.nodes.living() == set()
        assert node.lease.is_lapsed


async def test_who_asks_for_a_look_as_the_lease_ends_does_not_wait_for_ever(redis: Redis) -> None:
    """A node that leaves still serves those who are on their way: they go on without an answer."""
    async with Node(redis).running() as node:
        await node.lease.look()
        looking = asyncio.create_task(node.lease.look())
        await asyncio.sleep(0)
        await node.lease.release()
        async with asyncio.timeout(WAIT_S):
            await looking

        assert node.lease.is_lapsed


async def test_a_store_that_restarts_with_its_data_may_have_lost_the_last_of_it(
    private_valkey: EmbeddedValkey,
) -> None:
    """A second without it is shorter than the lease: the incarnation goes on, and puts back what it knows."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    async with Node(redis).running() as node:
        node.lease.on_incarnation(node.remember)
        node.lease.on_loss(node.put_back)
        # What is flushed each second to disk: wait until the lease is.
        await asyncio.sleep(1.5)
        before = node.lease.node_id
        renewed_at = node.lease.last_renewed_at
        await private_valkey.kill()
        await private_valkey.start()
        await until(lambda: node.lease.last_renewed_at not in (renewed_at, None))
        held_back_ms = node.lease.restoring_ms()
        await until(lambda: node.lease.restoring_ms() == 0)

        assert node.lease.node_id == before
        assert node.incarnations == []
        assert not node.lease.is_lapsed
        assert node.put_back_as == [before]
        assert 0 < held_back_ms <= RESTORING_MS
    await redis.aclose()


async def test_a_store_that_is_away_for_longer_than_the_lease_ends_the_incarnation(
    private_valkey: EmbeddedValkey,
) -> None:
    """The node knows by its own clock that others may think it dead, and goes on as another once it can."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    async with Node(redis).running() as node:
        node.lease.on_loss(node.put_back)
        node.lease.on_incarnation(node.remember)
        before = node.lease.node_id
        await private_valkey.kill()
        held_until = 0.0
        while not node.lease.is_lapsed:
            held_until = node.registry.get_sample_value("minuet_lease_age_seconds") or 0
            await asyncio.sleep(0.02)
        age_after = node.registry.get_sample_value("minuet_lease_age_seconds") or 0
        await private_valkey.start()
        await until(lambda: node.lease.is_settled)

        assert 0 < held_until <= TTL_S + 0.1
        assert age_after >= TTL_S
        assert node.incarnations == [(before, node.lease.node_id)]
        assert node.lease.node_id != before
        # Its data may be older than what was told to it: once the node is itself again, it puts back what it knows.
        await until(lambda: node.put_back_as == [node.lease.node_id])
        assert await node.nodes.living() == {node.lease.node_id}
        assert node.registry.get_sample_value("minuet_leases_lapsed_total") == 1
    await redis.aclose()


async def test_a_store_that_lost_everything_is_noticed_with_the_next_renewal(redis: Redis) -> None:
    """FLUSHALL: within about a second the same incarnation holds its lease again, and what it knows is put back.

    A hook that fails is called again, also after a bug; until all have succeeded nothing may be granted.
    """
    failures: list[Exception] = [Unavailable(), RuntimeError("a bug")]
    held_back: list[bool] = []

    async with Node(redis).running() as node:

        async def put_back() -> None:
            held_back.append(node.lease.restoring_ms() > 0)
            assert node.lease.has_to_put_back
            if failures:
                raise failures.pop()
            await node.put_back()

        node.lease.on_incarnation(node.remember)
        node.lease.on_loss(put_back)
        before = node.lease.node_id
        await redis.flushdb()
        flushed_at = asyncio.get_running_loop().time()
        await until(lambda: bool(held_back))
        noticed_after_s = asyncio.get_running_loop().time() - flushed_at
        await until(lambda: bool(node.put_back_as))
        await node.lease.settled()
        settled_after_s = asyncio.get_running_loop().time() - flushed_at

        assert noticed_after_s < 5
        assert settled_after_s >= RESTORING_MS / 1000 - 0.1
        assert node.put_back_as == [before]
        assert node.incarnations == []
        assert held_back == [True] * 3
        assert not node.lease.has_to_put_back
        assert await node.nodes.living() == {before}
        assert node.registry.get_sample_value("minuet_restorations_total") == 1
        await until(lambda: (node.registry.get_sample_value("minuet_restoring_seconds_total") or 0) >= 1.9)


async def test_a_loss_while_things_are_put_back_has_them_put_back_again(redis: Redis) -> None:
    """What was written before the second loss is gone with it."""
    begun = asyncio.Event()

    async with Node(redis).running() as node:

        async def put_back() -> None:
            if not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            await node.put_back()

        node.lease.on_loss(put_back)
        await redis.flushdb()
        await asyncio.wait_for(begun.wait(), WAIT_S)
        await redis.flushdb()
        await until(lambda: bool(node.put_back_as))

        assert node.lease.restoring_ms() > 0


async def test_a_doubt_has_the_store_asked_at_once(private_valkey: EmbeddedValkey) -> None:
    """Whoever finds something missing need not wait for the next renewal; many at once ask only once."""
    # A server that runs nobody else's scripts: they are counted.
    redis = connect(private_valkey.url)
    async with Node(redis).running() as node:
        node.lease.on_loss(node.put_back)
        await until(lambda: node.lease.last_renewed_at is not None)
        await asyncio.sleep(0.2)
        calls_before = await _renewals(redis)
        began = asyncio.get_running_loop().time()
        await redis.flushdb()
        await asyncio.gather(*(node.lease.look() for _ in range(50)))
        held_back_ms = node.lease.restoring_ms()

        assert held_back_ms > 0
        # And once a second, as ever.
        took_s = asyncio.get_running_loop().time() - began
        assert await _renewals(redis) - calls_before <= 4 + took_s
    await redis.aclose()


async def test_a_node_that_starts_while_the_others_put_things_back_holds_back_with_them(
    redis: Redis,
) -> None:
    """It finds a store that looks well, with half of its contents."""
    async with Node(redis).running() as old:
        await redis.flushdb()
        await old.lease.look()
        async with Node(redis).running() as new:
            held_back_ms = new.lease.restoring_ms()
            await new.lease.settled()

            assert 0 < held_back_ms <= RESTORING_MS
            assert new.registry.get_sample_value("minuet_restorations_total") == 0


async def test_a_fresh_deployment_serves_at_once(redis: Redis) -> None:
    """An empty store that nobody knows otherwise has lost nothing."""
    async with Node(redis).running() as node:
        assert node.lease.restoring_ms() == 0
