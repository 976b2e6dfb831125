"""Taking a block back, with both stores."""

import asyncpg
import pytest
from redis.asyncio import Redis

from base.ids import UserId
from safety.block_list import BlockList, NoSuchBlock
from safety.service import Safety
from storage.postgres.safety import PostgresBlockBook, PostgresSafety
from storage.redis.keys import Keys
from storage.redis.safety import RedisPendingRecords, RedisSafetyLog
from tests.contract.safety.conftest import AddUser


@pytest.fixture
def book(pool: asyncpg.Pool) -> PostgresBlockBook:
    return PostgresBlockBook(pool)


@pytest.fixture
def block_list(book: PostgresBlockBook, log: RedisSafetyLog) -> BlockList:
    return BlockList(book, log)


async def write_all(pending: RedisPendingRecords, archive: PostgresSafety) -> None:
    """What the recorder does."""
    while await pending.count():
        entries = await pending.take("me", limit=100, wait_ms=100)
        records = [entry.record for entry in entries if entry.record is not None]
        if records:
            await archive.write(records)
        await pending.remove([entry.entry_id for entry in entries])


async def test_a_block_is_listed_for_who_made_it_and_taken_back_by_them_alone(
    safety: Safety,
    block_list: BlockList,
    add_person: AddUser,
    pending: RedisPendingRecords,
    archive: PostgresSafety,
) -> None:
    """The other sees nothing of it; taken back, they may meet again, and taking it back twice is once."""
    ada, bob = await add_person(), await add_person()
    block_id = await safety.block(ada, bob, call_id=None, now_ms=1_700_000_000_000)
    await write_all(pending, archive)
    (mine,) = await block_list.made_by(ada, before=None, limit=10)

    assert (mine.block_id, mine.first_name, mine.made_at) == (block_id, "Ada", 1_700_000_000_000)
    assert await block_list.made_by(bob, before=None, limit=10) == []
    with pytest.raises(NoSuchBlock):
        await block_list.take_back(block_id, bob)
    assert await safety.blocks(ada) == {bob}
    await block_list.take_back(block_id, ada)
    await block_list.take_back(block_id, ada)
    assert (await safety.blocks(ada), await safety.blocks(bob)) == (set(), set())
    assert await block_list.made_by(ada, before=None, limit=10) == []


async def test_where_both_blocked_one_taking_it_back_changes_nothing(
    safety: Safety,
    block_list: BlockList,
    add_person: AddUser,
    pending: RedisPendingRecords,
    archive: PostgresSafety,
) -> None:
    """Each keeps away from the other for reasons of their own."""
    ada, bob = await add_person(), await add_person()
    hers = await safety.block(ada, bob, call_id=None, now_ms=1)
    await safety.block(bob, ada, call_id=None, now_ms=2)
    await write_all(pending, archive)
    await block_list.take_back(hers, ada)

    assert await safety.blocks(ada) == {bob}
    assert await safety.blocks(bob) == {ada}


async def test_a_block_that_the_other_makes_meanwhile_is_not_lost(
    safety: Safety,
    book: PostgresBlockBook,
    add_person: AddUser,
    pending: RedisPendingRecords,
    archive: PostgresSafety,
    redis: Redis,
    keys: Keys,
) -> None:
    """It is made and written between the look into the archive and the clearing of the sets."""
    ada, bob = await add_person(), await add_person()
    hers = await safety.block(ada, bob, call_id=None, now_ms=1)
    await write_all(pending, archive)

    class Late(RedisSafetyLog):
        async def forget(self, one: UserId, other: UserId) -> None:
            await safety.block(bob, ada, call_id=None, now_ms=2)
            await write_all(pending, archive)
            await super().forget(one, other)

    await BlockList(book, Late(redis, keys)).take_back(hers, ada)

    assert await safety.blocks(ada) == {bob}
    assert await safety.blocks(bob) == {ada}
