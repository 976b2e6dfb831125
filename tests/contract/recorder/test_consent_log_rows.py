"""The consent log in PostgreSQL: nothing changes or deletes it but the purge, and that passes over open reports."""

import asyncio

import asyncpg
import msgspec
import pytest

from jobs.ports import Refused
from signaling.call import consent
from signaling.call.record import ConsentEvent, ConsentKind, RefusedRelays
from signaling.call.states import State
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.consent import PostgresConsentAudit, PostgresConsentLogs
from storage.postgres.times import moment
from tests.contract.calls.call_records import moved, new_id
from tests.contract.recorder.agreed_calls import DAY_MS, ENDED_AT, agreed
from tests.contract.recorder.archive_rows import add_pair, count, report, resolve

KEPT_MS = 30 * DAY_MS


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


@pytest.fixture
def logs(pool: asyncpg.Pool) -> PostgresConsentLogs:
    return PostgresConsentLogs(pool, kept_ms=KEPT_MS)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calls.consent_events SET by_seat = 'a'",
        "UPDATE calls.consent_events SET hash = NULL",
        "DELETE FROM calls.consent_events",
        "TRUNCATE calls.consent_events",
        "DELETE FROM calls.calls",
        "UPDATE calls.calls SET consent_head = sha256('forged')",
        "UPDATE calls.calls SET consent_entries = 1",
        "UPDATE calls.calls SET consent_entries = NULL, consent_head = NULL",
        "UPDATE calls.calls SET consent_entries = 1, consent_head = sha256('shorter')",
        "UPDATE calls.calls SET consent_purged_at = now()",
    ],
)
async def test_no_statement_changes_or_deletes_a_log(
    archive: PostgresCallArchive, database: asyncpg.Connection, statement: str
) -> None:
    """Not even by the role that owns the tables, as the server does."""
    await archive.record([agreed(*await add_pair(database))])

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await database.execute(statement)
    assert await count(database, "calls.consent_events") == 2


@pytest.mark.parametrize(
    "statement",
    ["UPDATE safety.audit_log SET action = 'x'", "DELETE FROM safety.audit_log", "TRUNCATE safety.audit_log"],
)
async def test_the_audit_log_is_append_only_too(database: asyncpg.Connection, statement: str) -> None:
    """Nothing but its purge deletes a line (test_retention.py)."""
    await database.execute(
        "INSERT INTO safety.audit_log (id, at, actor_id, action) VALUES ($1, now(), $1, 'consent_log.read')",
        new_id(),
    )

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await database.execute(statement)


async def test_a_log_may_grow_with_a_later_version(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """What is refused in the second before the end comes after it; what is there already stays."""
    first = agreed(*await add_pair(database))
    refusal = RefusedRelays(at=ENDED_AT + 500, by="b", code="call_ended", count=2, after=2)
    second = consent.with_refusal(moved(first, State.ENDED, ended_at=ENDED_AT), refusal)

    for call in (first, second, first):
        await archive.record([call])
    rows = await database.fetch("SELECT number, kind, hash FROM calls.consent_events ORDER BY number")
    kept = await database.fetchrow("SELECT consent_entries, consent_head FROM calls.calls")

    assert [(row["number"], row["kind"]) for row in rows] == [
        (0, "video_asked"),
        (1, "video_asked"),
        (2, "relay_refused"),
    ]
    assert [row["hash"] for row in rows] == consent.hashes(second, consent.entries(second))
    assert kept is not None
    assert tuple(kept) == (3, second.consent_head)


@pytest.mark.parametrize("in_the_middle", [True, False])
async def test_a_log_of_another_past_comes_behind_what_is_kept(
    archive: PostgresCallArchive, database: asyncpg.Connection, pool: asyncpg.Pool, in_the_middle: bool
) -> None:
    """The store lost an end that history had; the call ended again, with a log that begins alike and goes on otherwise."""
    begun = agreed(*await add_pair(database))
    lost, other = (
        ConsentEvent(at=ENDED_AT - number, kind=ConsentKind.VIDEO_DENIED, by="a", reason="denied")
        for number in (20, 10)
    )
    first = consent.with_event(begun, lost)
    again = consent.with_event(moved(begun, State.ENDED, ended_at=ENDED_AT), other)
    if in_the_middle:
        again = consent.with_event(again, lost)

    for call in (first, again, moved(again, State.ENDED, ended_at=ENDED_AT)):
        await archive.record([call])
    [kept] = [log async for log in PostgresConsentAudit(pool).logs() if log.call_id == begun.call_id]
    start = consent.genesis(begun.call_id, begun.a.user_id, begun.b.user_id)

    assert [entry.at for entry in kept.entries[2:]] == [lost.at, other.at]
    assert consent.verify(start, kept.entries, kept.hashes, kept.head).state is consent.ChainState.INTACT


async def test_a_later_version_that_knows_less_takes_nothing_away(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """A node of an older release drops what it does not know; the call is written, and its log stays."""
    first = agreed(*await add_pair(database))
    less = msgspec.structs.replace(moved(first, State.ENDED), events=first.events[:1], consent_head=b"")

    await archive.record([first])
    await archive.record([less])

    assert await count(database, "calls.consent_events") == 2
    assert await database.fetchval("SELECT consent_head FROM calls.calls") == first.consent_head
    assert await database.fetchval("SELECT version FROM calls.calls") == less.version


async def test_logs_are_kept_for_thirty_days_and_not_longer(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, database: asyncpg.Connection
) -> None:
    """To the millisecond; the call itself stays, and so do the logs of later calls."""
    pair = await add_pair(database)
    old, young = (
        msgspec.structs.replace(agreed(*pair, at=at), refusals={"sdp_invalid": 2})
        for at in (ENDED_AT, ENDED_AT + 1)
    )
    await archive.record([old, young])

    early = await logs.purge_expired(ENDED_AT + KEPT_MS, 100)
    in_time = await logs.purge_expired(ENDED_AT + KEPT_MS + 1, 100)
    again = await logs.purge_expired(ENDED_AT + KEPT_MS + 1, 100)

    assert (early, in_time, again) == (0, 1, 0)
    left = await database.fetch("SELECT DISTINCT call_id FROM calls.consent_events")
    assert [str(row["call_id"]) for row in left] == [young.call_id]
    sums = await database.fetch("SELECT call_id FROM calls.refusals")
    assert [str(row["call_id"]) for row in sums] == [young.call_id]
    assert await count(database, "calls.calls") == 2
    purged_at = await database.fetchval(
        "SELECT consent_purged_at FROM calls.calls WHERE id = $1", old.call_id
    )
    assert purged_at == moment(ENDED_AT + KEPT_MS + 1)


async def test_an_open_report_holds_the_log_of_its_call(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """For as long as it takes; of several reports, until the last is resolved."""
    call = agreed(*await add_pair(database))
    await archive.record([call])
    reports = [await report(pool, call, made_at=ENDED_AT) for _ in range(2)]
    purged = []
    for report_id in (None, *reports):
        if report_id is not None:
            await resolve(database, report_id, at=ENDED_AT)
        purged.append(await logs.purge_expired(ENDED_AT + 400 * DAY_MS, 100))

    assert purged == [0, 0, 1]
    assert await count(database, "calls.consent_events") == 0


async def test_held_logs_do_not_stand_in_the_way_of_others(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """A share is filled with what may go, however much older is held."""
    calls = [agreed(*await add_pair(database), at=ENDED_AT + number) for number in range(6)]
    await archive.record(calls)
    for call in calls[:3]:
        await report(pool, call, made_at=ENDED_AT)

    assert [await logs.purge_expired(ENDED_AT + 31 * DAY_MS, 2) for _ in range(3)] == [2, 1, 0]
    assert await database.fetchval("SELECT count(DISTINCT call_id) FROM calls.consent_events") == 3


async def test_logs_that_an_older_release_wrote_are_purged_alike(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, database: asyncpg.Connection
) -> None:
    """Without hash or seal."""
    await archive.record([agreed(*await add_pair(database), entries=0)])
    async with database.transaction():
        await database.execute("SET LOCAL session_replication_role = replica")
        await database.execute("UPDATE calls.calls SET consent_head = NULL, consent_entries = NULL")
        await database.execute(
            "INSERT INTO calls.consent_events (call_id, number, at, kind) SELECT id, 0, now(), 'video_asked' FROM calls.calls"
        )

    assert await logs.purge_expired(ENDED_AT + 31 * DAY_MS, 100) == 1
    assert await count(database, "calls.consent_events") == 0


async def test_the_purge_leaves_the_doors_closed_behind_it(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """What it may do ends with it, also on its own connection and in its own transaction."""
    pair = await add_pair(database)
    await archive.record([agreed(*pair), agreed(*pair, at=ENDED_AT + 40 * DAY_MS)])

    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.RestrictViolationError):
            async with connection.transaction():
                await connection.fetchval(
                    PostgresConsentLogs.PURGE, moment(ENDED_AT + DAY_MS), 100, moment(ENDED_AT + DAY_MS)
                )
                await connection.execute("DELETE FROM calls.consent_events")
    assert await count(database, "calls.consent_events") == 4


async def test_two_that_purge_at_once_share_the_work(
    archive: PostgresCallArchive, logs: PostgresConsentLogs, database: asyncpg.Connection
) -> None:
    """Each log goes once."""
    pair = await add_pair(database)
    await archive.record([agreed(*pair, at=ENDED_AT + number) for number in range(40)])

    purged = await asyncio.gather(*(logs.purge_expired(ENDED_AT + 31 * DAY_MS, 25) for _ in range(2)))
    left = await logs.purge_expired(ENDED_AT + 31 * DAY_MS, 100)

    assert sum(purged) + left == 40
    assert await count(database, "calls.consent_events") == 0


async def test_an_entry_that_cannot_be_stored_is_refused_with_its_call(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """A call without its whole log is not in history."""
    call = agreed(*await add_pair(database))
    event = ConsentEvent(at=1 << 62, kind=ConsentKind.VIDEO_ASKED, by="b")

    with pytest.raises(Refused):
        await archive.record([consent.with_event(call, event)])
    assert await count(database, "calls.calls") == 0
