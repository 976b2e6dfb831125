"""Writes that wait until a replica has them, where there are replicas: what somebody was promised must outlive a failover.

A primary acknowledges before its replicas have heard; for most of what is stored the nodes themselves know it and put it
back after a loss. What nobody but the store knows goes this way. It is a promise for failovers and not for the death of all
copies: where no replica answers in time (100 ms), the write stands and nobody is told otherwise.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis

from storage.redis.cluster import ClusterRedis

WAIT_MS: Final = 100
LOOK_EVERY_S: Final = 10.0
"""Whether a single server has replicas; a cluster's are on its map."""


class Copies:
    """Of one store. One for all who use it in a process is enough, more do no harm."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._are_kept = False
        self._looked_at = float("-inf")

    async def write(self, command: Callable[[Redis], Any]) -> Any:
        """The reply to one command, after a replica has done it too. Raises: what the client raises."""
        if not await self._has_replicas():
            return await command(self._redis)
        async with self._redis.pipeline(transaction=False) as pipe:
            command(pipe)
            # Over the same connection: it is about what went there before.
            pipe.wait(1, WAIT_MS)
            replies = await pipe.execute()
        return replies[0]

    async def _has_replicas(self) -> bool:
        redis = self._redis
        if isinstance(redis, ClusterRedis):
            return bool(redis.topology.map.replicas)
        now = asyncio.get_running_loop().time()
        if now - self._looked_at > LOOK_EVERY_S:
            self._looked_at = now
            self._are_kept = bool((await redis.info("replication")).get("connected_slaves"))
        return self._are_kept
