"""One command on its way through a cluster, and the two ways to send one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.redis.multiplexed import MultiplexedRedis

LOST: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
"""A connection that was lost, or is silent, or could not be made."""

Send = Callable[[MultiplexedRedis, tuple[bytes, ...]], Awaitable[Any]]
"""Does a command at one node; the packed commands that it needs there come right before it."""


class NotSent(RedisConnectionError):
    """There was no connection, so the command was certainly not done."""


@dataclass(slots=True)
class Errand:
    """A command, and what it has met so far."""

    slot: int | None
    """None: any primary will do."""
    send: Send
    script: AsyncScript | None = None
    patient: bool = True
    """Whether it waits for a primary that is away."""
    lost: int = 0
    redirects: int = 0
    loads: int = 0
    pauses: int = 0
    gives_up_at: float = float("inf")


def over_the_link(command: bytes) -> Send:
    """A packed command over the node's shared connection."""

    async def send(node: MultiplexedRedis, before: tuple[bytes, ...]) -> Any:
        try:
            link = node.live or await node.opened()
            # In one turn, so that nobody's command comes between.
            first = [link.ask(one) for one in before]
            answer = link.ask(command)
        except LOST as error:
            raise NotSent(str(error)) from error
        if first:
            # If they were refused, the command says so too.
            await asyncio.gather(*first, return_exceptions=True)
        return await answer

    return send


def over_the_pool(args: Sequence[Any], options: dict[str, Any]) -> Send:
    """A command over a connection of its own, for what would hold up the others."""

    async def send(node: MultiplexedRedis, _before: tuple[bytes, ...]) -> Any:
        return await node.execute_command(*args, **options)

    return send
