"""What becomes of a node when the store dies, forgets everything, or the node itself is stopped or killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.errors import Unavailable
from base.ids import DeviceId, IdFactory, NodeId, SessionId, UserId
from minuet.embedded import EmbeddedValkey
from presence.metrics import PresenceMetrics
from presence.node_lease import NodeLease
from presence.nodes import LEASE_TTL_MS, NodeStats, UserState
from presence.reaper import Reaper
from presence.registry import Registry
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions

KEYS = Keys("test:")
ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("leased_process.py")
TTL_S = LEASE_TTL_MS / 1000
WAIT_S = 15.0


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

    async def remember(self, old: NodeId, new: NodeId) -> None:
        self.incarnations.append((old, new))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.lease.run())
            async with asyncio.timeout(WAIT_S):
                await self.lease.acquired()
            yield self
            running.cancel()


class LeasedProcess:
    """`leased_process.py`, asked and told by lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ask(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()

    async def line(self) -> list[str]:
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            return (await asyncio.to_thread(self._process.stdout.readline)).split()


@asynccontextmanager
async def leased_process(url: str, user: str) -> AsyncIterator[LeasedProcess]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), url, user, "phone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield LeasedProcess(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def test_a_lease_is_kept_and_the_stores_time_is_known(redis: Redis) -> None:
    """Over several renewals the node stays the same, is listed with its counts, and tells the store's time."""
    async with Node(redis).running() as node:
        await asyncio.sleep(2.2)
        (described,) = await node.nodes.nodes()
        seconds, micros = await redis.time()
        told = node.clock.now_ms()

        assert described.node_id == node.lease.node_id
        assert described.stats == node.stats
        assert seconds * 1000 + micros // 1000 - described.renewed_at < 1_500
        assert abs(told - (seconds * 1000 + micros // 1000)) < 50
        assert node.clock.is_measured
        assert node.lease.is_settled
        assert not node.lease.is_lapsed
        assert node.registry.get_sample_value("minuet_presence_users", {"state": "queued"}) == 3
        assert 0 <= (node.registry.get_sample_value("minuet_lease_age_seconds") or 0) < 1.5
        assert abs(node.registry.get_sample_value("minuet_clock_skew_seconds") or 0) < 0.05


async def test_a_released_lease_is_over_at_once(redis: Redis) -> None:
    """Nobody waits for it to run out, and the node does not take it again."""
    async with Node(redis).running() as node:
        await node.lease.release()
        await asyncio.sleep(1.2)

        assert await node.nodes.living() == set()
        assert node.lease.is_lapsed


async def test_a_store_that_restarts_with_its_data_changes_nothing(private_valkey: EmbeddedValkey) -> None:
    """A second without it is shorter than the lease."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    async with Node(redis).running() as node:
        node.lease.on_incarnation(node.remember)
        # What is flushed each second to disk: wait until the lease is.
        await asyncio.sleep(1.5)
        before = node.lease.node_id
        renewed_at = node.lease.last_renewed_at
        await private_valkey.kill()
        await private_valkey.start()
        await until(lambda: node.lease.last_renewed_at not in (renewed_at, None))

        assert node.lease.node_id == before
        assert node.incarnations == []
        assert not node.lease.is_lapsed
    await redis.aclose()


async def test_a_store_that_is_away_for_longer_than_the_lease_ends_the_incarnation(
    private_valkey: EmbeddedValkey,
) -> None:
    """The node knows by its own clock that others may think it dead, and goes on as another once it can."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    async with Node(redis).running() as node:
        node.lease.on_incarnation(node.remember)
        before = node.lease.node_id
        await private_valkey.kill()
        await asyncio.sleep(TTL_S / 2)
        held_half_way = not node.lease.is_lapsed
        await asyncio.sleep(TTL_S / 2 + 0.2)
        lapsed_after = node.lease.is_lapsed
        age_after = node.registry.get_sample_value("minuet_lease_age_seconds") or 0
        await private_valkey.start()
        await until(lambda: node.lease.is_settled)

        assert held_half_way
        assert lapsed_after
        assert age_after >= TTL_S
        assert node.incarnations == [(before, node.lease.node_id)]
        assert node.lease.node_id != before
        assert await node.nodes.living() == {node.lease.node_id}
        assert node.registry.get_sample_value("minuet_leases_lapsed_total") == 1
    await redis.aclose()


async def test_a_store_that_lost_everything_is_noticed_with_the_next_renewal(redis: Redis) -> None:
    """FLUSHALL: within about a second the node is another incarnation, and its hooks put back what was there.

    A hook that fails is called again, also after a bug; until all have succeeded the node is not settled.
    """
    failures: list[Exception] = [Unavailable(), RuntimeError("a bug")]
    unsettled: list[bool] = []

    async with Node(redis).running() as node:

        async def restore(old: NodeId, new: NodeId) -> None:
            unsettled.append(node.lease.is_settled)
            if failures:
                raise failures.pop()
            await node.remember(old, new)

        node.lease.on_incarnation(restore)
        before = node.lease.node_id
        await redis.flushdb()
        await until(lambda: bool(node.incarnations) and node.lease.is_settled)

        assert node.incarnations == [(before, node.lease.node_id)]
        assert unsettled == [False] * 3
        assert await node.nodes.living() == {node.lease.node_id}


async def test_a_process_that_was_stopped_beyond_its_lease_comes_back_as_another(
    redis: Redis, redis_url: str
) -> None:
    """SIGSTOP: others see it dead and clear up; after SIGCONT its first word is not that it holds the lease.

    Its session lives on under the new incarnation, since the device had not gone elsewhere.
    """
    lost: list[SessionId] = []

    async def on_session_lost(user_id: UserId, device_id: DeviceId, session_id: SessionId) -> None:
        lost.append(session_id)

    nodes, sessions = RedisNodes(redis, KEYS), RedisSessions(redis, KEYS)
    reaper = Reaper(nodes, on_session_lost, PresenceMetrics(CollectorRegistry()))
    async with leased_process(redis_url, "ann") as process:
        _, node_id, session_id = await process.line()
        process.ask()
        before = await process.line()
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(TTL_S + 0.5)
        process.ask()
        living_meanwhile = await nodes.living()
        await reaper.reap_all()
        rows_meanwhile = await sessions.sessions(UserId("ann"))
        process.send_signal(signal.SIGCONT)
        words = [await process.line(), await process.line()]
        first_word = next(word for word in words if word[0] != "again")
        again = next(word for word in words if word[0] == "again")
        row = await sessions.where(UserId("ann"), DeviceId("phone"))

        assert before == [node_id, "held"]
        assert living_meanwhile == set()
        assert rows_meanwhile == []
        assert lost == [session_id]
        assert first_word != [node_id, "held"]
        assert again[1] == node_id
        assert row is not None
        assert (row.node_id, row.session_id) == (again[2], session_id)
        assert await nodes.living() == {row.node_id}


async def test_a_stopped_process_does_not_take_back_a_device_that_went_elsewhere(
    redis: Redis, redis_url: str
) -> None:
    """While the first node was stopped the device connected to a second: the first one's session is lost."""
    nodes, sessions = RedisNodes(redis, KEYS), RedisSessions(redis, KEYS)
    async with leased_process(redis_url, "bob") as first:
        _, first_node, _ = await first.line()
        first.send_signal(signal.SIGSTOP)
        async with leased_process(redis_url, "bob") as second:
            _, second_node, second_session = await second.line()
            await asyncio.sleep(TTL_S + 0.2)
            first.send_signal(signal.SIGCONT)
            again = await first.line()
            row = await sessions.where(UserId("bob"), DeviceId("phone"))

            assert again[:2] == ["again", first_node]
            assert again[3] == "lost"
            assert row is not None
            assert (row.node_id, row.session_id) == (second_node, second_session)
            assert await nodes.living() == {again[2], second_node}


async def test_a_killed_process_is_cleared_up_within_seconds(redis: Redis, redis_url: str) -> None:
    """kill -9: its session is gone, somebody was told, nothing of the node is left in the store."""
    lost: list[tuple[UserId, DeviceId, SessionId]] = []

    async def on_session_lost(user_id: UserId, device_id: DeviceId, session_id: SessionId) -> None:
        lost.append((user_id, device_id, session_id))

    nodes, sessions = RedisNodes(redis, KEYS), RedisSessions(redis, KEYS)
    registry = Registry(sessions, nodes)
    metrics = PresenceMetrics(CollectorRegistry())
    async with leased_process(redis_url, "eve") as process:
        _, _, session_id = await process.line()
        online_before = await registry.is_online(UserId("eve"))
        running = asyncio.create_task(Reaper(nodes, on_session_lost, metrics).run())
        process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(TTL_S + 2.5):
            while not lost or await nodes.dead():
                await asyncio.sleep(0.05)
        running.cancel()

        assert online_before
        assert lost == [(UserId("eve"), DeviceId("phone"), session_id)]
        assert not await registry.is_online(UserId("eve"))
        assert await redis.keys("test:*") == []
