"""Blocking, reporting and what the recorder makes of it, on both real stores."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.errors import ErrorCode, Unavailable
from base.ids import CallId, UserId, is_uuid
from jobs.persistence import Retries
from jobs.safety_recorder import SafetyPace, SafetyRecorder
from safety.metrics import SafetyMetrics, SafetyRecorderMetrics
from safety.records import NOTE_LENGTH, ReportCategory
from safety.service import Safety, SelfDirected
from storage.postgres.pool import open_pool
from storage.postgres.safety import PostgresSafety
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.safety import RedisPendingRecords, RedisSafetyLog
from tests.fixtures.waiting import until

AddUser = Callable[[], Awaitable[UserId]]
PACE = SafetyPace(wait_ms=50, retries=Retries(0.02, 0.1))


@pytest.fixture
def recorder_metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def recorder(
    pending: RedisPendingRecords, archive: PostgresSafety, recorder_metrics: CollectorRegistry
) -> SafetyRecorder:
    return SafetyRecorder(
        pending, archive, SafetyRecorderMetrics(recorder_metrics), "recorder 1", lambda: 0.5, pace=PACE
    )


async def record_all(recorder: SafetyRecorder, pending: RedisPendingRecords) -> None:
    async with asyncio.timeout(30):
        while await pending.count():
            await recorder.record_some()


async def test_a_block_is_in_force_at_once_and_in_the_archive_soon(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    archive: PostgresSafety,
    add_person: AddUser,
    metrics: CollectorRegistry,
) -> None:
    """Neither meets the other, whatever becomes of the archive."""
    ann, bob = await add_person(), await add_person()
    block_id = await safety.block(ann, bob, call_id=None, now_ms=1_000)
    at_once = (await safety.blocks(ann), await safety.blocks(bob))
    before = await archive.blocks_of([ann])
    await record_all(recorder, pending)

    assert is_uuid(block_id)
    assert at_once == ({bob}, {ann})
    assert before == {}
    assert await archive.blocks_of([ann]) == {ann: {bob}}
    assert metrics.get_sample_value("minuet_safety_made_total", {"kind": "block"}) == 1


async def test_a_report_reaches_the_archive_as_it_was_made(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    database: asyncpg.Connection,
    add_person: AddUser,
    new_id: Callable[[], str],
) -> None:
    """What PostgreSQL cannot hold (NUL) and what is too long is taken off, not refused: a report must not fail."""
    ann, bob = await add_person(), await add_person()
    report_id = await safety.report(
        ann,
        bob,
        call_id=CallId(new_id()),
        category=ReportCategory.HATE,
        note="\0" + "x" * (NOTE_LENGTH + 5),
        now_ms=1_000,
    )
    await record_all(recorder, pending)
    row = await database.fetchrow("SELECT * FROM safety.reports")

    assert row is not None
    assert str(row["id"]) == report_id
    assert (row["category"], row["note"]) == ("hate", "x" * NOTE_LENGTH)


async def test_nobody_blocks_or_reports_themselves(safety: Safety, pending: RedisPendingRecords) -> None:
    """A typed refusal; nothing is kept."""
    ann = UserId("ann")
    with pytest.raises(SelfDirected) as refusal:
        await safety.block(ann, ann, call_id=None, now_ms=1)
    with pytest.raises(SelfDirected):
        await safety.report(ann, ann, call_id=None, category=ReportCategory.SPAM, note="", now_ms=1)

    assert refusal.value.code is ErrorCode.CONFLICT
    assert await pending.count() == 0


async def test_blocks_that_redis_lost_come_back_from_the_archive(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    redis: Redis,
    keys: Keys,
    add_person: AddUser,
) -> None:
    """After FLUSHALL, when the person's next session registers."""
    ann, bob, eve = [await add_person() for _ in range(3)]
    await safety.block(ann, bob, call_id=None, now_ms=1)
    await safety.block(eve, ann, call_id=None, now_ms=2)
    await record_all(recorder, pending)
    await redis.flushdb()
    lost = await safety.blocks(ann)

    assert lost == set()
    assert await safety.restore_blocks(ann)
    assert await safety.blocks(ann) == {bob, eve}
    assert await redis.hget(keys.user(ann), "blocks_known") == b"1"


async def test_restoring_waits_for_the_archive_without_keeping_anybody_out(
    log: RedisSafetyLog,
    archive: PostgresSafety,
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    redis: Redis,
    add_person: AddUser,
    new_id: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL is away when the session registers, and comes back: the blocks are there soon after."""
    monkeypatch.setattr("safety.service.RETRY_RESTORING_S", 0.05)
    ann, bob = await add_person(), await add_person()
    await safety.block(ann, bob, call_id=None, now_ms=1)
    await record_all(recorder, pending)
    await redis.flushdb()

    class Returning:
        """An archive that is away until it is not."""

        def __init__(self, away: PostgresSafety, back: PostgresSafety) -> None:
            self.now = away
            self._back = back

        async def blocks_of(self, user_ids: Sequence[UserId]) -> dict[UserId, set[UserId]]:
            return await self.now.blocks_of(user_ids)

        def come_back(self) -> None:
            self.now = self._back

    no_pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", timeout_s=0.3)
    returning = Returning(PostgresSafety(no_pool, timeout_s=0.3), archive)
    registry = CollectorRegistry()
    service = Safety(log, returning, new_id, SafetyMetrics(registry))
    running = asyncio.create_task(service.run())
    restored = await service.restore_blocks(ann)
    await asyncio.sleep(0.2)
    meanwhile = await service.blocks(ann)
    returning.come_back()
    # Counted when it is done, which others may see a moment before.
    await until(
        lambda: registry.get_sample_value("minuet_safety_restored_total", {"result": "restored"}) == 1
    )
    running.cancel()
    await no_pool.close()

    assert not restored
    assert meanwhile == set()
    assert await service.blocks(ann) == {bob}


async def test_the_blocks_of_a_crowd_come_back_together(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    redis: Redis,
    keys: Keys,
    add_person: AddUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a loss, for all whose sessions are here; also of those who have none, and in several shares."""
    monkeypatch.setattr("safety.service.RESTORED_AT_ONCE", 2)
    ann, bob, eve, dora, carl = [await add_person() for _ in range(5)]
    await safety.block(ann, bob, call_id=None, now_ms=1)
    await safety.block(eve, ann, call_id=None, now_ms=2)
    await safety.block(carl, dora, call_id=None, now_ms=3)
    await record_all(recorder, pending)
    await redis.flushdb()

    assert await safety.restore_blocks_of([ann, bob, eve, carl, ann]) == 4
    blocks = [await safety.blocks(one) for one in (ann, bob, eve, carl, dora)]
    known = [await redis.hget(keys.user(one), "blocks_known") for one in (ann, bob, eve, carl, dora)]
    assert blocks == [{bob, eve}, {ann}, {ann}, {dora}, set()]
    assert known == [b"1"] * 4 + [None]


async def test_a_crowd_does_not_wait_for_an_archive_that_is_away(
    log: RedisSafetyLog, new_id: Callable[[], str]
) -> None:
    """It is asked once, not for each of them; they are all seen to later."""
    no_pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", timeout_s=0.3)
    registry = CollectorRegistry()
    service = Safety(log, PostgresSafety(no_pool, timeout_s=0.3), new_id, SafetyMetrics(registry))
    crowd = [UserId(new_id()) for _ in range(1_000)]
    async with asyncio.timeout(30):
        restored = await service.restore_blocks_of(crowd)
    await no_pool.close()

    assert restored == 0
    assert registry.get_sample_value("minuet_safety_restored_total", {"result": "later"}) == 1_000


async def test_a_block_whose_maker_died_half_way_is_completed_by_the_recorder(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    redis: Redis,
    keys: Keys,
    add_person: AddUser,
) -> None:
    """The record was added, the sets were not."""
    ann, bob = await add_person(), await add_person()
    await safety.block(ann, bob, call_id=None, now_ms=1)
    await redis.delete(keys.blocks(ann))
    await redis.delete(keys.blocks(bob))
    await record_all(recorder, pending)

    assert await safety.blocks(ann) == {bob}
    assert await safety.blocks(bob) == {ann}


async def test_a_block_that_was_taken_back_is_not_brought_back_by_a_second_writing(
    safety: Safety,
    archive: PostgresSafety,
    log: RedisSafetyLog,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    database: asyncpg.Connection,
    redis: Redis,
    keys: Keys,
    add_person: AddUser,
) -> None:
    """A recorder died between commit and removal, then the block was taken back, then another recorder came."""
    ann, bob = await add_person(), await add_person()
    await safety.block(ann, bob, call_id=None, now_ms=1)
    await pending.take("dead", limit=1, wait_ms=1)
    (entry,) = await pending.take("dead", limit=10, wait_ms=10)
    assert entry.record is not None
    await archive.write([entry.record])
    await database.execute("UPDATE safety.blocks SET removed_at = now()")
    await redis.delete(keys.blocks(ann))
    await redis.delete(keys.blocks(bob))
    await asyncio.sleep(2.2)
    await record_all(recorder, pending)

    assert await safety.blocks(ann) == set()
    assert await archive.blocks_of([ann]) == {}


async def test_what_can_never_be_written_is_put_aside(
    safety: Safety,
    recorder: SafetyRecorder,
    pending: RedisPendingRecords,
    database: asyncpg.Connection,
    redis: Redis,
    keys: Keys,
    add_person: AddUser,
    new_id: Callable[[], str],
    recorder_metrics: CollectorRegistry,
) -> None:
    """The others are written; an operator finds the rest, and is told by the metric."""
    ann, bob = await add_person(), await add_person()
    stranger = UserId(new_id())
    await safety.report(ann, stranger, call_id=None, category=ReportCategory.SPAM, note="", now_ms=1)
    await redis.xadd(keys.safety_pending(), {"record": b"rubbish"})
    await safety.report(ann, bob, call_id=None, category=ReportCategory.SPAM, note="", now_ms=1)
    await record_all(recorder, pending)

    assert await database.fetchval("SELECT count(*) FROM safety.reports") == 1
    assert await redis.xlen(f"{keys.safety_pending()}:refused") == 2
    assert recorder_metrics.get_sample_value("minuet_safety_refused_total") == 2
    assert recorder_metrics.get_sample_value("minuet_safety_written_total") == 1
    assert recorder_metrics.get_sample_value("minuet_safety_pending") == 0


async def test_without_redis_blocking_is_unavailable_and_may_be_tried_again(
    archive: PostgresSafety, keys: Keys, new_id: Callable[[], str]
) -> None:
    """The caller learns that nothing is sure, with the one error that it handles."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    safety = Safety(RedisSafetyLog(redis, keys), archive, new_id, SafetyMetrics(CollectorRegistry()))

    with pytest.raises(Unavailable):
        await safety.block(UserId("ann"), UserId("bob"), call_id=None, now_ms=1)
    assert not await safety.restore_blocks(UserId(new_id()))
    await redis.aclose()


async def test_what_waits_is_counted_above_all_while_the_archive_is_away(
    safety: Safety,
    pending: RedisPendingRecords,
    recorder_metrics: CollectorRegistry,
    add_person: AddUser,
    database_url: str,
) -> None:
    """That is when somebody has to know; when nothing is wrong nothing waits."""
    ann, bob = await add_person(), await add_person()
    pool = await open_pool(database_url, max_size=1)
    await pool.close()
    recorder = SafetyRecorder(
        pending,
        PostgresSafety(pool, timeout_s=0.2),
        SafetyRecorderMetrics(recorder_metrics),
        "recorder 2",
        lambda: 0.5,
        pace=PACE,
    )
    await safety.block(ann, bob, call_id=None, now_ms=1)
    running = asyncio.create_task(recorder.run())
    try:
        async with asyncio.timeout(30):
            while recorder_metrics.get_sample_value("minuet_safety_pending") != 1:
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
