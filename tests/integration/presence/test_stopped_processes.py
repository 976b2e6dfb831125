"""What becomes of a node, and of its sessions, when its process is stopped or killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.ids import DeviceId, SessionId, UserId
from presence.metrics import PresenceMetrics
from presence.nodes import LEASE_TTL_MS
from presence.reaper import Reaper
from presence.registry import Registry
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from tests.fixtures.waiting import WAIT_S

KEYS = Keys("test:")
ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("leased_process.py")
TTL_S = LEASE_TTL_MS / 1000


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
        before = await registry.sessions(UserId("eve"))
        running = asyncio.create_task(Reaper(nodes, on_session_lost, metrics).run())
        process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(TTL_S + 2.5):
            while not lost or await nodes.dead():
                await asyncio.sleep(0.05)
        running.cancel()

        assert [row.session_id for row in before] == [session_id]
        assert lost == [(UserId("eve"), DeviceId("phone"), session_id)]
        assert await registry.sessions(UserId("eve")) == []
        assert set(await redis.keys("test:*")) == {KEYS.epoch(0).encode()}
