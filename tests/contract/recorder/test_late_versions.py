"""A later version of a call may come when the call's log was kept for long enough: after a worker was away for so long."""

import asyncpg
import pytest

from signaling.call import consent
from signaling.call.record import Call, ConsentEvent, ConsentKind
from signaling.call.states import State
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.consent import PostgresConsentLogs
from storage.postgres.retention import PURGE_CALLS, PostgresRetention
from tests.contract.calls.call_records import connected, ended, moved
from tests.contract.recorder.archive_rows import add_pair, count

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
KEPT_MS = 30 * DAY_MS
ENDED_AT = NOW - KEPT_MS - 1


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


def asked(call: Call, at: int) -> Call:
    return consent.with_event(call, ConsentEvent(at=at, kind=ConsentKind.VIDEO_ASKED, by="b"))


async def test_what_comes_after_a_log_was_purged_brings_none_of_it_back(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """The facts do come; and the call still goes when its own time is over."""
    first = asked(ended(*await add_pair(database), at=ENDED_AT), ENDED_AT - 1_000)
    later = asked(moved(connected(first), State.ENDED, ended_at=ENDED_AT, refusals={"sdp": 3}), ENDED_AT)
    await archive.record([first])
    await PostgresConsentLogs(pool, kept_ms=KEPT_MS).purge_expired(NOW, 10)
    recorded = await archive.record([later])
    call = await database.fetchrow(
        "SELECT version, connected, consent_entries, consent_head FROM calls.calls"
    )
    kept = [
        await count(database, f"calls.{table}") for table in ("consent_events", "refusals", "participants")
    ]
    purged = await PostgresRetention(pool, PURGE_CALLS, kept_ms=KEPT_MS).purge_expired(NOW, 10)

    assert (recorded.new, recorded.updated) == (0, 1)
    assert tuple(call) == (later.version, True, None, None)
    assert kept == [0, 0, 2]
    assert purged == 1


async def test_a_version_that_comes_late_is_written_beside_others_that_do_not(
    archive: PostgresCallArchive, pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """In one batch: one of a purged log, one of a log that is kept, one that nobody knows yet."""
    pair = await add_pair(database)
    purged, kept = (asked(ended(*pair, at=at), at - 1_000) for at in (ENDED_AT, NOW))
    await archive.record([purged, kept])
    await PostgresConsentLogs(pool, kept_ms=KEPT_MS).purge_expired(NOW, 10)
    again = [asked(moved(call, State.ENDED, ended_at=call.ended_at), NOW) for call in (purged, kept)]
    new = asked(ended(*pair, at=NOW), NOW)
    recorded = await archive.record([*again, new])
    rows = await database.fetch("SELECT call_id::text, count(*) FROM calls.consent_events GROUP BY 1")

    assert (recorded.new, recorded.updated) == (1, 2)
    assert dict(map(tuple, rows)) == {
        kept.call_id: len(consent.entries(again[1])),
        new.call_id: len(consent.entries(new)),
    }
