"""Which keys stand for all: one for each primary, on a single server and on a cluster alike."""

from collections.abc import Sequence

from redis.asyncio import Redis

from storage.redis.cluster import ClusterRedis


async def one_key_each(redis: Redis, keys: Sequence[str]) -> list[str]:
    """Of these keys the first that each primary serves: asking for them asks everybody who serves any of them.

    By the slot map as it is known: whoever asks for them is redirected where it is old, and with that it becomes new.
    """
    if not isinstance(redis, ClusterRedis):
        return list(keys[:1])
    if not redis.topology.map.ranges:
        await redis.topology.refresh()
    # Nobody is known to serve some slots: one key stands for all of those, and is not answered.
    return list({redis.topology.primary_of(key): key for key in reversed(keys)}.values())[::-1]
