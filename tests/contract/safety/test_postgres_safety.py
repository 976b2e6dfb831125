"""Blocks and reports in PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from base.errors import Unavailable
from base.ids import CallId, UserId
from safety.records import Block, Report, ReportCategory, SafetyRecord
from storage.postgres.pool import open_pool
from storage.postgres.safety import PostgresSafety

AddUser = Callable[[], Awaitable[UserId]]
AT_MS = 1_700_000_000_123


@dataclass
class Make:
    """Makes records with ids of their own."""

    new_id: Callable[[], str]

    def block(self, by: UserId, other: UserId) -> Block:
        return Block(id=self.new_id(), by_id=by, other_id=other, call_id=None, made_at=AT_MS)

    def report(self, by: UserId, other: UserId, note: str = "") -> Report:
        return Report(
            id=self.new_id(),
            by_id=by,
            other_id=other,
            call_id=CallId(self.new_id()),
            category=ReportCategory.NUDITY,
            note=note,
            made_at=AT_MS,
        )


@pytest.fixture
def make(new_id: Callable[[], str]) -> Make:
    return Make(new_id)


async def test_records_are_written_as_they_are(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """Every field, to the millisecond."""
    ann, bob = await add_person(), await add_person()
    block, report = make.block(ann, bob), make.report(bob, ann, "« rude » 💢")
    written = await archive.write([block, report])
    block_row = await database.fetchrow("SELECT * FROM safety.blocks")
    report_row = await database.fetchrow("SELECT * FROM safety.reports")
    at = datetime.fromtimestamp(AT_MS / 1000, UTC)

    assert written.in_force == {block.id}
    assert written.refused == {}
    assert block_row is not None
    assert [str(value) for value in block_row.values()] == [block.id, ann, bob, "None", str(at), "None"]
    assert report_row is not None
    assert str(report_row["id"]) == report.id
    assert (str(report_row["reporter_id"]), str(report_row["reported_id"])) == (bob, ann)
    assert (str(report_row["call_id"]), report_row["category"]) == (report.call_id, "nudity")
    assert (report_row["note"], report_row["created_at"]) == ("« rude » 💢", at)


async def test_writing_again_changes_nothing(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """A recorder that died after its commit leaves its entries to another, which writes them again."""
    ann, bob = await add_person(), await add_person()
    records: list[SafetyRecord] = [make.block(ann, bob), make.report(ann, bob)]
    for _ in range(3):
        await archive.write(records)

    assert await database.fetchval("SELECT count(*) FROM safety.blocks") == 1
    assert await database.fetchval("SELECT count(*) FROM safety.reports") == 1


async def test_a_second_block_of_the_same_pair_is_the_first(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """Both are in force; the other direction is a block of its own."""
    ann, bob = await add_person(), await add_person()
    first, second, back = make.block(ann, bob), make.block(ann, bob), make.block(bob, ann)
    await archive.write([first])
    written = await archive.write([second, back])

    assert written.in_force == {second.id, back.id}
    assert await database.fetchval("SELECT count(*) FROM safety.blocks") == 2


async def test_a_block_that_was_taken_back_stays_so_when_it_is_written_again(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """It is not in force any more; a new one of the same pair is."""
    ann, bob = await add_person(), await add_person()
    block = make.block(ann, bob)
    await archive.write([block])
    await database.execute("UPDATE safety.blocks SET removed_at = now()")
    again = await archive.write([block])
    not_blocked = await archive.blocks_of([ann])
    anew = make.block(ann, bob)
    after = await archive.write([anew])

    assert again.in_force == frozenset()
    assert not_blocked == {}
    assert after.in_force == {anew.id}
    assert await archive.blocks_of([ann]) == {ann: {bob}}


async def test_blocks_are_found_from_both_sides(
    archive: PostgresSafety, make: Make, add_person: AddUser
) -> None:
    """Whoever of the two wanted so, neither meets the other."""
    ann, bob, eve = [await add_person() for _ in range(3)]
    await archive.write([make.block(ann, bob), make.block(eve, ann), make.block(ann, eve)])

    assert await archive.blocks_of([ann]) == {ann: {bob, eve}}
    assert await archive.blocks_of([bob]) == {bob: {ann}}
    assert await archive.blocks_of([eve]) == {eve: {ann}}


async def test_one_impossible_record_does_not_keep_the_others(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """People who do not exist, ids that are none: named with the reason, which quotes no value."""
    ann, bob = await add_person(), await add_person()
    good: list[SafetyRecord] = [make.block(ann, bob), make.report(ann, bob)]
    stranger = make.report(ann, UserId(make.new_id()))
    no_id = make.block(ann, UserId("not a uuid"))
    written = await archive.write([good[0], stranger, no_id, good[1]])

    assert written.in_force == {good[0].id}
    assert set(written.refused) == {stranger.id, no_id.id}
    assert "reports_reported_id_fkey" in written.refused[stranger.id]
    assert "not a uuid" not in written.refused[no_id.id]
    assert await database.fetchval("SELECT count(*) FROM safety.reports") == 1


async def test_recorders_that_write_the_same_at_once_do_not_disturb_each_other(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """Whatever order each has them in: no deadlock, and each once."""
    ann = await add_person()
    others = [await add_person() for _ in range(20)]
    records: list[SafetyRecord] = [make.report(ann, other) for other in others]
    records += [make.block(ann, other) for other in others]
    writers = [archive.write(records), archive.write(records[::-1]), archive.write(records)]
    written = await asyncio.gather(*writers)

    assert all(answer.refused == {} for answer in written)
    assert await database.fetchval("SELECT count(*) FROM safety.reports") == 20
    assert await database.fetchval("SELECT count(*) FROM safety.blocks") == 20


async def test_a_report_outlives_the_accounts_in_it(
    archive: PostgresSafety, database: asyncpg.Connection, make: Make, add_person: AddUser
) -> None:
    """The moderators' case stays, without the person; a block goes with either of the two."""
    ann, bob = await add_person(), await add_person()
    await archive.write([make.block(ann, bob), make.report(ann, bob, "note")])
    await database.execute("DELETE FROM accounts.users WHERE id = $1", bob)
    report = await database.fetchrow("SELECT * FROM safety.reports")

    assert report is not None
    assert (report["reported_id"], str(report["reporter_id"]), report["note"]) == (None, ann, "note")
    assert await database.fetchval("SELECT count(*) FROM safety.blocks") == 0


async def test_without_a_database_everything_is_unavailable(make: Make) -> None:
    """An outage reaches callers as the one error that they handle, and refuses no record."""
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", timeout_s=0.3)
    archive = PostgresSafety(pool, timeout_s=0.3)

    with pytest.raises(Unavailable):
        await archive.write([make.report(UserId(make.new_id()), UserId(make.new_id()))])
    with pytest.raises(Unavailable):
        await archive.blocks_of([UserId(make.new_id())])
    await pool.close()
