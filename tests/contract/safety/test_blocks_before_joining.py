"""Nobody looks for a partner by half of their blocks: those that Redis has lost and the archive has still to bring back."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import UserId
from safety.metrics import SafetyMetrics
from safety.records import Block
from safety.service import Safety
from storage.postgres.safety import PostgresSafety
from storage.redis.safety import RedisSafetyLog

AddUser = Callable[[], Awaitable[UserId]]


class Archive:
    """The archive, which may be away."""

    def __init__(self, archive: PostgresSafety) -> None:
        self._archive = archive
        self.is_away = False

    async def blocks_of(self, user_ids: Sequence[UserId]) -> dict[UserId, set[UserId]]:
        if self.is_away:
            raise Unavailable
        return await self._archive.blocks_of(user_ids)


async def test_who_was_let_in_without_their_blocks_is_sure_of_them_or_told_to_wait(
    log: RedisSafetyLog, archive: PostgresSafety, new_id: Callable[[], str], redis: Redis, add_person: AddUser
) -> None:
    """The database was away when they came; and as soon as it is back nobody waits for a round in the background."""
    ann, bob = await add_person(), await add_person()
    await archive.write([Block(id=new_id(), by_id=ann, other_id=bob, call_id=None, made_at=1)])
    kept = Archive(archive)
    safety = Safety(log, kept, new_id, SafetyMetrics(CollectorRegistry()))
    kept.is_away = True
    let_in = await safety.restore_blocks(ann)
    with pytest.raises(Unavailable):
        await safety.make_sure_of_blocks(ann)
    kept.is_away = False
    await safety.make_sure_of_blocks(ann)

    assert not let_in
    assert await safety.blocks(ann) == {bob}


async def test_who_is_sure_of_their_blocks_asks_nobody(
    log: RedisSafetyLog, archive: PostgresSafety, new_id: Callable[[], str], add_person: AddUser
) -> None:
    """Before each place in a queue: it must not hang on the archive."""
    kept = Archive(archive)
    safety = Safety(log, kept, new_id, SafetyMetrics(CollectorRegistry()))
    ann = await add_person()
    await safety.restore_blocks(ann)
    kept.is_away = True

    await safety.make_sure_of_blocks(ann)
