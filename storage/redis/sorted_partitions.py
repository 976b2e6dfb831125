"""Sorted sets of which there is one in each partition, as those read them who look for what is due.

They look twice a second, and mostly there is nothing. A cluster has to be asked for each set, since they are of different
slots; one server answers for many of them at once, by a script that says nothing of those in which nothing is.
"""

from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from storage.redis.client import load_script
from storage.redis.cluster import ClusterRedis
from storage.redis.partitions import ask_those_there

# Sets in one script: a hundred short looks hold up the server for less than a tenth of a millisecond.
_AT_ONCE = 64

Scored = list[tuple[bytes, float]]


class SortedPartitions:
    """The sorted sets under these keys, in their order."""

    def __init__(self, redis: Redis, keys: Sequence[str]) -> None:
        self._redis = redis
        self._keys = keys
        self._script = load_script(redis, "sorted_first")

    async def first(self, limits: int | Sequence[int], *, up_to: int | None = None) -> list[Scored]:
        """Of each set the members of the lowest scores, so many of it at most, with their scores.

        As if empty where its primary is away; nobody waits for that one. Raises: the first error where nothing was answered.
        """
        latest = "+inf" if up_to is None else up_to
        if isinstance(self._redis, ClusterRedis):
            each = [limits] * len(self._keys) if isinstance(limits, int) else limits
            return await ask_those_there(
                self._redis,
                list(zip(self._keys, each, strict=True)),
                lambda pipe, asked: pipe.zrangebyscore(
                    asked[0], "-inf", latest, start=0, num=asked[1], withscores=True
                ),
                absent=(),
            )
        found: list[Scored] = [[] for _ in self._keys]
        for start in range(0, len(self._keys), _AT_ONCE):
            end = start + _AT_ONCE
            shares = (limits,) if isinstance(limits, int) else limits[start:end]
            reply: Any = await self._look(self._keys[start:end], [latest, *shares])
            for number, members in zip(reply[::2], reply[1::2], strict=True):
                pairs = zip(members[::2], members[1::2], strict=True)
                found[start + number - 1] = [(member, float(score)) for member, score in pairs]
        return found

    async def _look(self, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """The script as one that only reads: any other waits while writes are paused, and so would its loading."""
        # The library has no types for it.
        ask: Any = cast("Any", self._redis).execute_command
        try:
            return await ask("EVALSHA_RO", self._script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await ask("EVAL_RO", self._script.script, len(keys), *keys, *args)
