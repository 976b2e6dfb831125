"""Blocks in force and records that wait, in Redis."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import CallId, UserId
from safety.records import Block, Report, ReportCategory
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.safety import CHUNK, RedisPendingRecords, RedisSafetyLog

ANN, BOB, EVE = UserId("ann"), UserId("bob"), UserId("eve")


def block(name: str = "b1", by: UserId = ANN, other: UserId = BOB) -> Block:
    return Block(id=name, by_id=by, other_id=other, call_id=CallId("c1"), made_at=1_000)


def report(name: str = "r1") -> Report:
    return Report(
        id=name,
        by_id=ANN,
        other_id=BOB,
        call_id=None,
        category=ReportCategory.SCAM,
        note="said « send money » 💸",
        made_at=1_000,
    )


async def test_a_block_holds_for_both_at_once(log: RedisSafetyLog) -> None:
    """It stands in both people's sets, whoever of the two looks; twice is once."""
    await log.add_block(block("b1", ANN, BOB))
    await log.add_block(block("b2", ANN, BOB))
    await log.add_block(block("b3", EVE, ANN))

    assert await log.blocks(ANN) == {BOB, EVE}
    assert await log.blocks(BOB) == {ANN}
    assert await log.blocks(EVE) == {ANN}
    assert await log.blocks(UserId("nobody")) == set()


async def test_what_was_added_is_taken_in_order_and_as_it_was(
    log: RedisSafetyLog, pending: RedisPendingRecords
) -> None:
    """Also what was added before any recorder existed."""
    await log.add_block(block())
    await log.add_report(report())
    none_yet = await pending.take("one", limit=10, wait_ms=10)  # finds that there is no group, and makes it
    taken = await pending.take("one", limit=10, wait_ms=10)

    assert none_yet == []
    assert [entry.record for entry in taken] == [block(), report()]
    assert await pending.count() == 2


async def test_an_entry_belongs_to_one_recorder_until_it_is_removed(
    log: RedisSafetyLog, pending: RedisPendingRecords
) -> None:
    """Two recorders share what waits."""
    await pending.take("one", limit=1, wait_ms=1)
    for number in range(4):
        await log.add_report(report(f"r{number}"))
    first, second = await asyncio.gather(
        pending.take("one", limit=2, wait_ms=10), pending.take("two", limit=2, wait_ms=10)
    )
    await pending.remove([entry.entry_id for entry in first])

    assert {entry.record.id for entry in [*first, *second] if entry.record} == {"r0", "r1", "r2", "r3"}
    assert await pending.count() == 2
    assert await pending.take("one", limit=2, wait_ms=1) == []


async def test_what_a_dead_recorder_left_is_claimed_by_another(
    log: RedisSafetyLog, pending: RedisPendingRecords
) -> None:
    """After a while without a word; then it is not claimed by a third."""
    await pending.take("dead", limit=1, wait_ms=1)
    await log.add_report(report())
    left = await pending.take("dead", limit=10, wait_ms=10)
    at_once = await pending.take("heir", limit=10, wait_ms=1)
    await asyncio.sleep(2.2)
    claimed = await pending.take("heir", limit=10, wait_ms=1)
    third = await pending.take("third", limit=10, wait_ms=1)

    assert at_once == []
    assert claimed == left
    assert third == []


async def test_waiting_for_an_entry_ends_with_the_first(
    log: RedisSafetyLog, pending: RedisPendingRecords
) -> None:
    """A recorder hears of a report at once, not with its next look."""
    await pending.take("one", limit=1, wait_ms=1)
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(pending.take("one", limit=10, wait_ms=15_000))
        await asyncio.sleep(0.05)
        await log.add_report(report())
        taken = await waiting

    assert [entry.record for entry in taken] == [report()]


async def test_a_refused_entry_is_put_aside_with_the_reason(
    log: RedisSafetyLog, pending: RedisPendingRecords, redis: Redis, keys: Keys
) -> None:
    """It waits no longer, and nothing of it is lost."""
    await pending.take("one", limit=1, wait_ms=1)
    await log.add_report(report())
    (entry,) = await pending.take("one", limit=10, wait_ms=10)
    await pending.refuse(entry.entry_id, "nobody knows them")
    aside: Any = await redis.xrange(f"{keys.safety_pending()}:refused")

    assert await pending.count() == 0
    assert len(aside) == 1
    assert aside[0][1][b"reason"] == b"nobody knows them"
    assert b"send money" in aside[0][1][b"record"]


async def test_an_entry_that_cannot_be_read_is_still_an_entry(
    pending: RedisPendingRecords, redis: Redis, keys: Keys
) -> None:
    """It has to be put aside by somebody, and must not hide those behind it."""
    await pending.take("one", limit=1, wait_ms=1)
    await redis.xadd(keys.safety_pending(), {"record": b"\xc1"})
    await redis.xadd(keys.safety_pending(), {"something": "else"})
    taken = await pending.take("one", limit=10, wait_ms=10)

    assert [entry.record for entry in taken] == [None, None]


async def test_records_are_readable_again_after_the_store_lost_everything(
    log: RedisSafetyLog, pending: RedisPendingRecords, redis: Redis
) -> None:
    """FLUSHALL took stream and group: both come back by themselves."""
    await pending.take("one", limit=1, wait_ms=1)
    await redis.flushdb()
    await log.add_report(report())
    await pending.take("one", limit=10, wait_ms=1)

    assert [entry.record for entry in await pending.take("one", limit=10, wait_ms=10)] == [report()]


async def test_restored_blocks_are_added_and_known(log: RedisSafetyLog, redis: Redis, keys: Keys) -> None:
    """Those made meanwhile stay; more than one command can carry are no problem."""
    many = {UserId(f"u{number}") for number in range(CHUNK * 2 + 1)}
    await log.add_block(block("b1", ANN, BOB))
    await log.restore_blocks(ANN, many)
    await log.restore_blocks(EVE, set())

    assert await log.blocks(ANN) == many | {BOB}
    assert await log.blocks(EVE) == set()
    assert await redis.hget(keys.user(ANN), "blocks_known") == b"1"
    assert await redis.hget(keys.user(EVE), "blocks_known") == b"1"
    assert await redis.hget(keys.user(BOB), "blocks_known") is None


async def test_recorders_that_are_long_gone_are_forgotten_unless_they_hold_something(
    log: RedisSafetyLog, redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each restart brings a new name; names with entries are kept, since those would be lost with them."""
    monkeypatch.setattr("storage.redis.safety.FORGET_AFTER_MS", 20)
    pending = RedisPendingRecords(redis, keys)
    await pending.take("idle", limit=1, wait_ms=1)
    await pending.take("idle", limit=1, wait_ms=1)
    await log.add_report(report())
    await pending.take("holding", limit=1, wait_ms=10)
    await asyncio.sleep(0.05)
    await pending.tidy()
    names = {consumer["name"] for consumer in await redis.xinfo_consumers(keys.safety_pending(), "recorders")}

    assert names == {b"holding"}


async def test_without_a_store_everything_is_unavailable(keys: Keys, new_id: Callable[[], str]) -> None:
    """An outage reaches callers as the one error that they handle."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    log, pending = RedisSafetyLog(redis, keys), RedisPendingRecords(redis, keys)
    calls = [
        log.add_block(block()),
        log.add_report(report()),
        log.blocks(ANN),
        log.restore_blocks(ANN, {BOB}),
        pending.take("one", limit=1, wait_ms=1),
        pending.remove(["1-1"]),
        pending.refuse("1-1", "why"),
        pending.renew_blocks([block()]),
        pending.count(),
        pending.tidy(),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    await redis.aclose()
