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
    """The replies to one command for each item, in order. Raises: the first error."""
    return await _ask(redis, items, command, partly=False)


async def ask_those_there(
    redis: Redis, items: Sequence[_Item], command: Callable[[Pipeline, _Item], object], *, absent: object
) -> list[Any]:
    """As `ask_each`, with `absent` as the reply of what is on a primary that is away; nobody waits for that one.

    For whoever looks again soon: the parts of a cluster that are there must not suffer from the one that is not.

    Raises: the first error where nothing was answered.
    """
    replies = await _ask(redis, items, command, partly=True)
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    if errors and len(errors) == len(replies):
        raise errors[0]
    return [absent if isinstance(reply, Exception) else reply for reply in replies]


async def _ask(
    redis: Redis, items: Sequence[_Item], command: Callable[[Pipeline, _Item], object], *, partly: bool
) -> list[Any]:
    replies: list[Any] = []
    for start in range(0, len(items), _AT_ONCE):
        async with redis.pipeline(transaction=False) as pipe:
            for item in items[start : start + _AT_ONCE]:
                command(pipe, item)
            replies += await pipe.execute(raise_on_error=not partly)
    return replies


async def store_ms(redis: Redis) -> int:
    """The store's own time, Unix ms."""
    seconds, micros = await redis.time()
    return seconds * 1000 + micros // 1000
