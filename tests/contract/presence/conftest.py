"""Stores on the real server, and sessions to put into them."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.ids import DeviceId, IdFactory, NodeId, SessionId, UserId
from presence.metrics import BusMetrics
from presence.nodes import LEASE_TTL_MS, Incarnation
from presence.sessions import Registration
from storage.redis.bus import RedisBus
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from tests.contract.presence.incarnations import LoseLease

MakeRegistration = Callable[..., Registration]


@pytest.fixture
def nodes(redis: Redis, keys: Keys) -> RedisNodes:
    return RedisNodes(redis, keys)


@pytest.fixture
def sessions(redis: Redis, keys: Keys) -> RedisSessions:
    return RedisSessions(redis, keys)


@pytest.fixture
def new_id() -> Callable[[], str]:
    return IdFactory(SystemClock().wall_ms, os.urandom).new


@pytest.fixture
def incarnation(new_id: Callable[[], str]) -> Callable[..., Incarnation]:
    """Makes incarnations of nodes."""

    def make(role: str = "serve", started_at: int = 1_000) -> Incarnation:
        return Incarnation(NodeId(new_id()), role, started_at)

    return make


@pytest.fixture
def registration(new_id: Callable[[], str]) -> MakeRegistration:
    """Makes registrations: of one user on one node, each on another device, unless said otherwise."""
    user, node = UserId(new_id()), NodeId(new_id())
    numbers = itertools.count(1)

    def make(
        *,
        user: UserId = user,
        device: str | None = None,
        node: NodeId = node,
        session: str | None = None,
        issued_at_ms: int = 1_700_000_000_000,
    ) -> Registration:
        return Registration(
            user,
            DeviceId(device or f"device {next(numbers)}"),
            SessionId(session or new_id()),
            node,
            issued_at_ms,
        )

    return make


@pytest.fixture
async def listening(
    redis: Redis, keys: Keys, nodes: RedisNodes
) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Opens the inbox of another node, and returns when the server has heard of it."""
    running: list[asyncio.Task[None]] = []

    async def listen(node_id: str) -> None:
        bus = RedisBus(redis, keys, ServerClock(SystemClock()), BusMetrics(CollectorRegistry()))
        running.append(asyncio.create_task(bus.run()))
        running.append(asyncio.create_task(bus.listen(NodeId(node_id), lambda _frame: None)))
        async with asyncio.timeout(20):
            while not await nodes._somebody_listens():
                await asyncio.sleep(0.01)

    yield listen
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
def lose_lease(redis: Redis, keys: Keys) -> LoseLease:
    """Has a node's lease end as if its time were over, the list of nodes showing an old renewal."""

    async def lose(node: Incarnation) -> None:
        await redis.delete(keys.node_lease(node.node_id))
        score = await redis.zscore(keys.nodes(), node.node_id)
        if score is not None:
            await redis.zadd(keys.nodes(), {node.node_id: score - LEASE_TTL_MS})

    return lose
