"""The visits to the TURN servers that ended calls left behind: `jobs.ports.TurnVisits`.

A visit stands in a sorted set of its call's partition, where `call_commit.lua` put it. Taking one moves its score to
the end of the lease, whose fraction of a millisecond names the taking: done twice after a lost answer it finds what it took.
Two workers that pick the same one in the same millisecond both go, which does no harm.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from base.ids import CallId
from jobs.ports import TurnVisits, Visit, Visits
from storage.redis.client import load_script, unavailable_when_away
from storage.redis.keys import CALL_PARTITIONS, Keys, call_partition
from storage.redis.partitions import store_ms
from storage.redis.sorted_partitions import SortedPartitions


class RedisTurnVisits:
    """All 256 partitions of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._take = load_script(redis, "turn_take")
        self._takings = count()
        self._keys = [keys.calls_to_visit(n) for n in range(CALL_PARTITIONS)]
        self._visits = SortedPartitions(redis, self._keys)

    async def take(self, *, limit: int, lease_ms: int) -> Visits:
        with unavailable_when_away():
            now_ms = await store_ms(self._redis)
            due: list[Visit] = []
            for _, key in await self._due(now_ms):
                if len(due) >= limit:
                    break
                lease_until = f"{now_ms + lease_ms}.{next(self._takings) % 999 + 1:03}"
                taken: Any = await self._take(keys=[key], args=[now_ms, limit - len(due), lease_until])
                due += map(_visit, taken)
        return Visits(sorted(due, key=lambda visit: visit.due_at), now_ms)

    async def done(self, visits: Sequence[Visit]) -> None:
        if not visits:
            return
        with unavailable_when_away():
            async with self._redis.pipeline(transaction=False) as pipe:
                for visit in visits:
                    pipe.zrem(self._key(visit), _member(visit))
                await pipe.execute()

    async def postpone(self, visits: Mapping[Visit, int]) -> None:
        if not visits:
            return
        with unavailable_when_away():
            async with self._redis.pipeline(transaction=False) as pipe:
                for visit, due_at in visits.items():
                    # Only where it still is: another worker may have done it, after our lease.
                    pipe.zadd(self._key(visit), {_member(visit): due_at}, xx=True)
                await pipe.execute()

    async def overdue_ms(self) -> int:
        """For how long a visit has been due that nobody has taken; 0 where there is none."""
        with unavailable_when_away():
            now_ms = await store_ms(self._redis)
            due = await self._due(now_ms)
        return now_ms - round(due[0][0]) if due else 0

    async def _due(self, now_ms: int) -> list[tuple[float, str]]:
        """The partitions in which something is due, the longest overdue first, each with since when."""
        firsts = await self._visits.first(1, up_to=now_ms)
        return sorted((first[0][1], key) for first, key in zip(firsts, self._keys, strict=True) if first)

    def _key(self, visit: Visit) -> str:
        return self._keys[call_partition(visit.call_id)]


def _visit(member: bytes) -> Visit:
    call_id, due_at = member.decode().split()
    return Visit(CallId(call_id), int(due_at))


def _member(visit: Visit) -> str:
    return f"{visit.call_id} {visit.due_at}"


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits: type[TurnVisits] = RedisTurnVisits
