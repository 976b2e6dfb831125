"""Changes of calls that a node has not acknowledged, in Redis.

Decides their stored form: a member `<call> <version> <committed at> <node>` in the sorted set of the call's partition, put
there by `call_commit.lua` and scored by the moment from which it is told again. Whoever takes one that is due moves that
moment on, by as long as it has waited already, up to three seconds: others leave it alone, and a node that is gone is
told rarely.
"""

from collections.abc import Collection

from redis.asyncio import Redis

from base.ids import CallId, NodeId
from signaling.ports import Untold
from storage.redis.client import unavailable_when_away
from storage.redis.keys import CALL_PARTITIONS, Keys, call_partition
from storage.redis.partitions import ask_each, store_ms
from storage.redis.sorted_partitions import SortedPartitions

_AGAIN_AFTER_MS = 1_000
_LONGEST_PAUSE_MS = 3_000


class UntoldChanges:
    """The list of one Redis, in 256 parts."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = [keys.calls_untold(n) for n in range(CALL_PARTITIONS)]
        self._changes = SortedPartitions(redis, self._keys)

    async def remove(self, changes: Collection[Untold]) -> None:
        """Raises: Unavailable."""
        by_key: dict[str, list[str]] = {}
        for change in changes:
            by_key.setdefault(self._key(change), []).append(as_member(change))
        with unavailable_when_away():
            await ask_each(self._redis, list(by_key.items()), lambda pipe, told: pipe.zrem(told[0], *told[1]))

    async def take(self, limit: int) -> list[Untold]:
        """What is due, the longest waiting first. Raises: Unavailable."""
        with unavailable_when_away():
            now_ms = await store_ms(self._redis)
            replies = await self._changes.first(limit, up_to=now_ms)
            found = sorted((score, member) for reply in replies for member, score in reply)
            due = [(member, change) for _, member in found[:limit] if (change := _parsed(member)) is not None]
            # Only of those that stand there still: what was acknowledged meanwhile must not come back.
            await ask_each(
                self._redis,
                due,
                lambda pipe, item: pipe.zadd(
                    self._key(item[1]), {item[0]: _due_again(item[1], now_ms)}, xx=True
                ),
            )
        return [change for _, change in due]

    def _key(self, change: Untold) -> str:
        return self._keys[call_partition(change.call_id)]


def as_member(change: Untold) -> str:
    """The stored form; a node's id has no blanks."""
    return f"{change.call_id} {change.version} {change.at} {change.node_id}"


def _parsed(member: bytes) -> Untold | None:
    """None for what only a newer release can read: it tells it, and time bounds the list."""
    try:
        call_id, version, at, node_id = member.decode().split(" ")
        return Untold(CallId(call_id), int(version), int(at), NodeId(node_id))
    except ValueError:
        return None


def _due_again(change: Untold, now_ms: int) -> int:
    return now_ms + min(max(_AGAIN_AFTER_MS, now_ms - change.at), _LONGEST_PAUSE_MS)
