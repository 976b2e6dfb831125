"""Nodes that are nothing but a bus."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.ids import IdFactory, NodeId
from presence.metrics import BusMetrics
from signaling.ports import Gap
from storage.redis.bus import RedisBus
from storage.redis.bus_limits import BusLimits
from storage.redis.keys import Keys
from tests.fixtures.waiting import WAIT_S

KEYS: Final = Keys("test:")
CLOCK: Final = ServerClock(SystemClock())
IDS: Final = IdFactory(CLOCK.now_ms, os.urandom)


class Node:
    """A bus with an inbox, and what it hears and counts."""

    def __init__(self, redis: Redis, limits: BusLimits | None = None, node_id: NodeId | None = None) -> None:
        self.redis = redis
        self.registry = CollectorRegistry()
        limits = limits or BusLimits(needs_canary=False)
        self.bus = RedisBus(redis, KEYS, CLOCK, BusMetrics(self.registry), limits)
        self.node_id = node_id or NodeId(IDS.new())
        self.channel = KEYS.node_inbox(self.node_id)
        self.frames: list[bytes] = []
        self.gaps: list[Gap] = []
        self.bus.on_gap(self.gaps.append)

    def counted(self, name: str) -> float:
        return self.registry.get_sample_value(f"minuet_bus_{name}") or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listens as long as the block runs, and closes its connections after it."""
        async with asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(self.bus.run()),
                tasks.create_task(self.bus.listen(self.node_id, self.frames.append)),
            ]
            async with asyncio.timeout(WAIT_S):
                await self.bus.subscribed(self.node_id)
            yield self
            for task in started:
                task.cancel()
        await self.redis.aclose()
