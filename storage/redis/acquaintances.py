"""Who of many people is there, and whom a block keeps apart: two round trips, however many are asked for.

Fits `chat.ports.Presence`. Looks only; the rows and sets it reads are written by `presence` and `safety`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis.asyncio import Redis

from base.ids import NodeId, UserId
from chat.ports import Presence
from storage.redis.client import unavailable_when_away
from storage.redis.keys import Keys

AT_ONCE = 500
"""Commands of one write."""
_FIELD = b"session:"

Item = TypeVar("Item")


class LivingNodes(Protocol):
    """Raises Unavailable."""

    async def living(self) -> set[NodeId]: ...


class RedisAcquaintances:
    """Fits `chat.ports.Presence`."""

    def __init__(self, redis: Redis, keys: Keys, nodes: LivingNodes) -> None:
        self._redis = redis
        self._keys = keys
        self._nodes = nodes

    async def online(self, user_ids: Collection[UserId]) -> set[UserId]:
        if not user_ids:
            return set()
        living = await self._nodes.living()
        found: set[UserId] = set()
        for share in _shares(user_ids):
            pipeline = self._redis.pipeline(transaction=False)
            for user_id in share:
                pipeline.hgetall(self._keys.user(user_id))
            with unavailable_when_away():
                answers: Sequence[Any] = await pipeline.execute()
            found.update(
                user_id for user_id, slot in zip(share, answers, strict=True) if _has_session(slot, living)
            )
        return found

    async def apart(self, others: Mapping[UserId, Collection[UserId]]) -> set[tuple[UserId, UserId]]:
        found: set[tuple[UserId, UserId]] = set()
        for share in _shares(others.items()):
            asked = [(user_id, list(peers)) for user_id, peers in share if peers]
            pipeline = self._redis.pipeline(transaction=False)
            for user_id, peers in asked:
                pipeline.smismember(self._keys.blocks(user_id), peers)
            if not asked:
                continue
            with unavailable_when_away():
                answers: Sequence[Any] = await pipeline.execute()
            for (user_id, peers), flags in zip(asked, answers, strict=True):
                found.update((user_id, peer) for peer, flag in zip(peers, flags, strict=True) if flag)
        return found


def _has_session(slot: Mapping[bytes, bytes], living: set[NodeId]) -> bool:
    return any(
        name.startswith(_FIELD) and row.split(b" ", 1)[0].decode() in living for name, row in slot.items()
    )


def _shares(items: Collection[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while share := list(islice(rest, AT_ONCE)):
        yield share


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_chat: type[Presence] = RedisAcquaintances
