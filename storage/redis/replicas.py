"""Whether what is written has reached a replica: `WAIT`, where there is anybody to wait for.

Decides where that is asked and for how long. A primary acknowledges before its replicas have a write, and a failover
forgets what they had not. What must not be forgotten is written and waited for in one go, on one connection, since
`WAIT` speaks of the writes of its own. A server without replicas is asked nothing but, now and then, whether it has any.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from storage.redis.client import UNAVAILABLE_ERRORS
from storage.redis.cluster import ClusterRedis
from storage.redis.slots import Address

WAIT_MS: Final = 100
LOOK_EVERY_S: Final = 10.0


class Replicas:
    """The replicas of one Redis, or of the primaries of a cluster."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seen: dict[Address | None, tuple[float, bool]] = {}

    async def run(self, script: AsyncScript, keys: Sequence[str], args: Sequence[Any]) -> tuple[Any, bool]:
        """Runs a script of one slot, which may be run twice; its answer, and whether a replica has it where one is.

        Raises: what redis-py raises.
        """
        found = self._server(keys[0])
        if found is None or not await self._has_replicas(*found):
            return await script(keys=keys, args=args), True
        # By its text where the server has lost it, which gives it to the server as well.
        for command, what in (("EVALSHA", script.sha), ("EVAL", script.script)):
            try:
                async with found[1].pipeline(transaction=False) as pipe:
                    pipe.execute_command(command, what, len(keys), *keys, *args)
                    pipe.execute_command("WAIT", 1, WAIT_MS)
                    answer, reached = await pipe.execute(raise_on_error=False)
            except UNAVAILABLE_ERRORS:
                break
            if not isinstance(answer, Exception):
                return answer, isinstance(reached, int) and reached > 0
            if not isinstance(answer, NoScriptError):
                break
        # The connection was lost, or the slot is another server's by now: the usual way knows what to do.
        return await script(keys=keys, args=args), False

    def _server(self, key: str) -> tuple[Address | None, Redis] | None:
        """Who serves a key; None while nobody is known to."""
        if not isinstance(self._redis, ClusterRedis):
            return None, self._redis
        address = self._redis.topology.primary_of(key)
        return None if address is None else (address, self._redis.node(address))

    async def _has_replicas(self, address: Address | None, server: Redis) -> bool:
        looked_at, has_any = self._seen.get(address, (-LOOK_EVERY_S, False))
        if monotonic() - looked_at >= LOOK_EVERY_S:
            if address in self._seen:
                # One looks; whoever comes meanwhile goes by what was known.
                self._seen[address] = monotonic(), has_any
            try:
                about: dict[str, Any] = await server.info("replication")
                has_any = bool(about.get("connected_slaves"))
            except (RedisError, OSError):
                pass  # asked again with the next; the write itself will tell whether the server is away
            self._seen[address] = monotonic(), has_any
        return has_any
