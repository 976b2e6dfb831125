"""A Lua script that is asked without detours.

The library's own goes through four coroutines for each call, and asks on its way what kind of client it has. Decides only
where that is not needed; pipelines and clusters are left to the library.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from storage.redis.multiplexed import MultiplexedRedis, pack


class Script(AsyncScript):
    """As the library's, called with `keys=` and `args=`, and `client=` for a pipeline that it is to be part of."""

    def __init__(self, redis: Redis, source: str) -> None:
        super().__init__(redis, source)
        self._shared = redis if isinstance(redis, MultiplexedRedis) else None

    async def __call__(
        self, keys: Sequence[Any] | None = None, args: Iterable[Any] | None = None, client: Any = None
    ) -> Any:
        """Raises: what redis-py raises."""
        shared = self._shared
        if client is not None or shared is None:
            return await cast("Any", super()).__call__(keys, args, client)
        names = keys or ()
        command = pack(("EVALSHA", self.sha, len(names), *names, *(args or ())))
        try:
            return await shared.answer_to(command)
        except NoScriptError:
            await shared.execute_command("SCRIPT LOAD", self.script)
            return await shared.answer_to(command)
