"""Everything that is kept for a time goes when it is over, in shares, and nothing goes that an open report is about."""

import asyncio
from typing import Any

import asyncpg
import pytest

from jobs.ports import Kept
from minuet.settings import Settings
from minuet.wiring.retention import kept_for_a_time
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.consent import PostgresConsentLogs
from storage.postgres.retention import (
    PURGE_AUDIT_LOG,
    PURGE_CALLS,
    PURGE_FEEDBACK,
    PURGE_REMOVED_BLOCKS,
    PURGE_REPORTS,
    PostgresRetention,
)
from storage.postgres.times import moment
from tests.contract.calls.call_records import ended, new_id
from tests.contract.recorder.archive_rows import add_pair, add_user, count, report, resolve

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
KEPT_MS = 100 * DAY_MS
OLD, YOUNG = NOW - KEPT_MS - 1, NOW - KEPT_MS


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


def of(pool: asyncpg.Pool, statement: str) -> PostgresRetention:
    return PostgresRetention(pool, statement, kept_ms=KEPT_MS)


async def forget_logs(pool: asyncpg.Pool) -> None:
    assert await PostgresConsentLogs(pool, kept_ms=DAY_MS).purge_expired(NOW, 1_000)


async def test_calls_go_with_what_hangs_on_them_when_their_time_is_over(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """To the millisecond, after their consent log; people and younger calls stay."""
    pair = await add_pair(database)
    old, young = ended(*pair, at=OLD), ended(*pair, at=YOUNG)
    await archive.record([old, young])
    calls = of(pool, PURGE_CALLS)
    with_their_log = await calls.purge_expired(NOW, 100)
    await forget_logs(pool)
    purged = await calls.purge_expired(NOW, 100)

    assert (with_their_log, purged) == (0, 1)
    assert await database.fetchval("SELECT id::text FROM calls.calls") == young.call_id
    assert await count(database, "calls.participants") == 2
    assert await count(database, "accounts.users") == 2
    assert await calls.purge_expired(NOW, 100) == 0


async def test_an_open_report_holds_its_call_until_it_is_resolved(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """And others do not wait behind it, however small the share."""
    pair = await add_pair(database)
    first, second = ended(*pair, at=OLD - 1), ended(*pair, at=OLD)
    await archive.record([first, second])
    await forget_logs(pool)
    report_id = await report(pool, first, made_at=OLD)
    calls = of(pool, PURGE_CALLS)
    held = [await calls.purge_expired(NOW, 1) for _ in range(2)]
    await resolve(database, report_id, at=NOW)

    assert held == [1, 0]
    assert await calls.purge_expired(NOW, 1) == 1
    assert await count(database, "calls.calls") == 0


async def test_an_entry_that_came_late_holds_its_call_and_no_other(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """The log refuses to be deleted: one such call must not fail every share that it would be in."""
    pair = await add_pair(database)
    odd, other = ended(*pair, at=OLD - 1), ended(*pair, at=OLD)
    await archive.record([odd, other])
    await forget_logs(pool)
    await database.execute(
        "INSERT INTO calls.consent_events (call_id, number, at, kind) VALUES ($1, 0, now(), 'video_asked')",
        odd.call_id,
    )

    assert await of(pool, PURGE_CALLS).purge_expired(NOW, 100) == 1
    assert await database.fetchval("SELECT id::text FROM calls.calls") == odd.call_id


async def test_two_workers_that_purge_at_once_share_the_calls(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """Neither waits for the other, and none is counted twice."""
    pair = await add_pair(database)
    await archive.record([ended(*pair, at=OLD - number) for number in range(40)])
    await forget_logs(pool)
    calls = of(pool, PURGE_CALLS)

    purged = await asyncio.gather(*(calls.purge_expired(NOW, 25) for _ in range(2)))
    left = await calls.purge_expired(NOW, 100)

    assert sum(purged) + left == 40
    assert await count(database, "calls.participants") == 0


async def test_feedback_of_no_call_goes_by_its_own_age(
    pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """Its call is gone, or was never written."""
    author = await add_user(database, "Ada", "female")
    for at in (OLD, OLD - 1, YOUNG):
        await database.execute(
            "INSERT INTO calls.feedback (call_id, user_id, rating, given_at, changed_at) VALUES ($1, $2, 5, $3, $3)",
            new_id(),
            author,
            moment(at),
        )
    feedback = of(pool, PURGE_FEEDBACK)

    assert [await feedback.purge_expired(NOW, 1) for _ in range(3)] == [1, 1, 0]
    assert await count(database, "calls.feedback") == 1


async def test_feedback_stays_as_long_as_its_call(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """Here for an open report."""
    call = ended(*await add_pair(database), at=OLD)
    await archive.record([call])
    await database.execute(
        "INSERT INTO calls.feedback (call_id, user_id, rating, given_at, changed_at) VALUES ($1, $2, 1, $3, $3)",
        call.call_id,
        call.a.user_id,
        moment(OLD),
    )
    about_it = await report(pool, call, made_at=OLD)
    logs = PostgresConsentLogs(pool, kept_ms=DAY_MS)
    purges = (logs, of(pool, PURGE_CALLS), of(pool, PURGE_FEEDBACK))
    held = [await each.purge_expired(NOW, 10) for each in purges]
    await resolve(database, about_it, at=OLD)

    assert held == [0, 0, 0]
    assert [await each.purge_expired(NOW, 10) for each in purges] == [1, 1, 1]


async def test_reports_count_from_when_they_were_resolved(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """One that is open stays, however old."""
    call = ended(*await add_pair(database), at=OLD)
    old, young, still_open = [await report(pool, call, made_at=OLD) for _ in range(3)]
    await resolve(database, old, at=OLD)
    await resolve(database, young, at=YOUNG)
    reports = of(pool, PURGE_REPORTS)

    assert [await reports.purge_expired(NOW, 10) for _ in range(2)] == [1, 0]
    left = await database.fetch("SELECT id::text FROM safety.reports")
    assert {row["id"] for row in left} == {young, still_open}


async def test_only_blocks_that_were_taken_back_go(pool: asyncpg.Pool, database: asyncpg.Connection) -> None:
    """One that is in force stays for ever."""
    her, him = await add_pair(database)
    for removed in (OLD, YOUNG, None):
        await database.execute(
            "INSERT INTO safety.blocks (id, blocker_id, blocked_id, created_at, removed_at) VALUES ($1, $2, $3, $4, $5)",
            new_id(),
            her,
            him,
            moment(OLD - DAY_MS),
            None if removed is None else moment(removed),
        )
    blocks = of(pool, PURGE_REMOVED_BLOCKS)

    assert [await blocks.purge_expired(NOW, 10) for _ in range(2)] == [1, 0]
    assert await count(database, "safety.blocks") == 2
    assert await count(database, "safety.blocks WHERE removed_at IS NULL") == 1


async def add_line(database: asyncpg.Connection, at: int, report_id: str | None = None) -> str:
    line = new_id()
    await database.execute(
        "INSERT INTO safety.audit_log (id, at, actor_id, action, report_id) VALUES ($1, $2, $1, 'report.read', $3)",
        line,
        moment(at),
        report_id,
    )
    return line


async def test_the_audit_log_gives_up_what_is_old_and_not_about_an_open_report(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """Oldest first, in shares; lines about a report that is gone already go like the others."""
    report_id = await report(pool, ended(*await add_pair(database), at=OLD), made_at=OLD)
    await add_line(database, OLD - 2)
    await add_line(database, OLD - 1, new_id())
    held = await add_line(database, OLD - 3, report_id)
    young = await add_line(database, YOUNG)
    log = of(pool, PURGE_AUDIT_LOG)
    shares = [await log.purge_expired(NOW, 1) for _ in range(3)]
    left = {row["id"] for row in await database.fetch("SELECT id::text FROM safety.audit_log")}
    await resolve(database, report_id, at=NOW)

    assert shares == [1, 1, 0]
    assert left == {held, young}
    assert await log.purge_expired(NOW, 10) == 1


@pytest.mark.parametrize(
    "statement",
    ["UPDATE safety.audit_log SET action = 'x'", "DELETE FROM safety.audit_log", "TRUNCATE safety.audit_log"],
)
async def test_the_audit_log_is_as_closed_as_before_once_it_was_purged(
    pool: asyncpg.Pool, database: asyncpg.Connection, statement: str
) -> None:
    """What the purge may do ends with it, also on its own connection and in its own transaction."""
    await add_line(database, OLD)
    await add_line(database, YOUNG)

    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.RestrictViolationError):
            async with connection.transaction():
                assert await connection.fetchval(PURGE_AUDIT_LOG, moment(YOUNG), 100) == 1
                await connection.execute(statement)
    assert await count(database, "safety.audit_log") == 2


async def test_what_has_a_setting_of_zero_is_kept_for_good(pool: asyncpg.Pool) -> None:
    """And every other kind has somebody who deletes it."""
    accounts: Any = PostgresAccounts(pool)
    default = kept_for_a_time(Settings(), pool, accounts)
    for_good = kept_for_a_time(
        Settings(history_kept_days=0, reports_kept_days=0, audit_kept_days=0), pool, accounts
    )

    assert set(default) == set(Kept)
    assert set(Kept) - set(for_good) == {Kept.CALLS, Kept.FEEDBACK, Kept.REPORTS, Kept.AUDIT_LOG}
    # A call goes after its consent log: in this order one round deletes both.
    assert list(default).index(Kept.CONSENT_LOGS) < list(default).index(Kept.CALLS)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (PURGE_CALLS, "calls_purge_idx"),
        (PURGE_FEEDBACK, "feedback_given_at_idx"),
        (PURGE_REPORTS, "reports_resolved_at_idx"),
        (PURGE_REMOVED_BLOCKS, "blocks_removed_at_idx"),
    ],
)
async def test_every_share_is_found_by_an_index(pool: asyncpg.Pool, statement: str, index: str) -> None:
    """Else each look, every ten minutes, would read tables of years from end to end."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(
            "EXPLAIN " + statement.replace("$1", "'2020-01-01'::timestamptz").replace("$2", "1000")
        )
    plan = "\n".join(row[0] for row in rows)

    assert index in plan, plan
    assert "Seq Scan" not in plan, plan
