"""How what stands in many partitions is read: few round trips, and never a long one.

Decides how many commands go into one pipeline. Refuses to know what they ask.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

_Item = TypeVar("_Item")

# Commands in one pipeline: packing and parsing them blocks the event loop, which has frames to relay.
_AT_ONCE = 32


async def ask_each(
    redis: Redis, items: Sequence[_Item], command: Callable[[Pipeline, _Item], object]
) -> list[Any]:
    """The replies to one command for each item, in order."""
    replies: list[Any] = []
    for start in range(0, len(items), _AT_ONCE):
        async with redis.pipeline(transaction=False) as pipe:
            for item in items[start : start + _AT_ONCE]:
                command(pipe, item)
            replies += await pipe.execute()
    return replies


async def store_ms(redis: Redis) -> int:
    """The store's own time, Unix ms."""
    seconds, micros = await redis.time()
    return seconds * 1000 + micros // 1000
