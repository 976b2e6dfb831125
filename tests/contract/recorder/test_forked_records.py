"""Two pasts of one call: a failover lost what one recorder had read already, the call went on otherwise, and both are written.

History keeps the facts of the later version, one chain that checks out, and every line of both logs.
"""

import asyncio

import asyncpg
import msgspec
import pytest

from signaling.call import consent
from signaling.call.record import Call, ConsentEvent, ConsentKind
from signaling.call.states import State
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.consent import PostgresConsentAudit
from storage.postgres.pool import transaction
from tests.contract.calls.call_records import ended, moved
from tests.contract.recorder.archive_rows import add_pair, count

ENDED_AT = 1_700_000_000_000
WAIT_S = 30.0
BOTH = [ENDED_AT - 20, ENDED_AT - 10, ENDED_AT - 5]


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


def _denied(call: Call, at: int) -> Call:
    line = ConsentEvent(at=at, kind=ConsentKind.VIDEO_DENIED, by="a", reason="denied")
    return consent.with_event(call, line)


async def _forks(database: asyncpg.Connection) -> tuple[Call, Call]:
    """One past, and a later version of another, with a longer log."""
    begun = ended(*await add_pair(database), at=ENDED_AT)
    for number in range(2):
        asked = ConsentEvent(at=ENDED_AT - 1_000 + number, kind=ConsentKind.VIDEO_ASKED, by="b")
        begun = consent.with_event(begun, asked)
    late = moved(begun, State.ENDED, ended_at=ENDED_AT)
    return _denied(begun, ENDED_AT - 20), _denied(_denied(late, ENDED_AT - 10), ENDED_AT - 5)


async def _waiting(database: asyncpg.Connection, number: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while (
            await database.fetchval(
                "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE NOT l.granted AND a.datname = current_database()"
            )
            < number
        ):
            await asyncio.sleep(0.01)


async def _checks_out(pool: asyncpg.Pool, call: Call) -> list[int]:
    """When the lines behind the common ones are of; the chain must be whole."""
    [kept] = [log async for log in PostgresConsentAudit(pool).logs() if log.call_id == call.call_id]
    start = consent.genesis(call.call_id, call.a.user_id, call.b.user_id)

    assert consent.verify(start, kept.entries, kept.hashes, kept.head).state is consent.ChainState.INTACT
    return sorted(entry.at for entry in kept.entries[2:])


@pytest.mark.parametrize("later_first", [False, True])
async def test_two_recorders_that_write_two_pasts_at_once_keep_both_logs_in_one_chain(
    archive: PostgresCallArchive, database: asyncpg.Connection, pool: asyncpg.Pool, later_first: bool
) -> None:
    """Both find nothing in history; the second finds at the row of the first that it has to look again."""
    early, late = await _forks(database)
    async with pool.acquire() as blocker, asyncio.TaskGroup() as tasks:
        held = blocker.transaction()
        await held.start()
        # Lets them read and lock rows, and holds them where they write.
        await blocker.execute("LOCK TABLE calls.calls IN SHARE MODE")
        for number, call in enumerate((late, early) if later_first else (early, late), start=1):
            tasks.create_task(archive.record([call]))
            await _waiting(database, number)
        await held.commit()

    assert await _checks_out(pool, early) == BOTH
    assert await database.fetchval("SELECT version FROM calls.calls") == late.version
    assert await count(database, "calls.participants") == 2


@pytest.mark.parametrize("later_first", [False, True])
@pytest.mark.parametrize("kept_lines", [0, 2])
async def test_a_recorder_that_waits_for_another_goes_on_from_what_that_one_wrote(
    archive: PostgresCallArchive,
    database: asyncpg.Connection,
    pool: asyncpg.Pool,
    kept_lines: int,
    later_first: bool,
) -> None:
    """The call is in history already, with or without a line; the second waits for its row while the first writes."""
    early, late = await _forks(database)
    known = msgspec.structs.replace(early, events=(), consent_head=b"")
    for line in early.events[:kept_lines]:
        known = consent.with_event(known, line)
    await archive.record([known])
    one, other = (late, early) if later_first else (early, late)

    async with asyncio.TaskGroup() as tasks, transaction(pool) as connection:
        await archive._record(connection, [one], ())
        tasks.create_task(archive.record([other]))
        await _waiting(database, 1)

    assert await _checks_out(pool, early) == BOTH


@pytest.mark.parametrize("same_version", [True, False])
async def test_a_past_that_comes_too_late_leaves_its_lines_and_no_facts(
    archive: PostgresCallArchive, database: asyncpg.Connection, pool: asyncpg.Pool, same_version: bool
) -> None:
    """What people agreed to was told to them; how the call ended is what its later version says, or the first of two alike."""
    early, late = await _forks(database)
    if same_version:
        early = msgspec.structs.replace(early, version=late.version)
    early = msgspec.structs.replace(early, extensions=early.extensions + 1)
    await archive.record([late])
    before = await database.fetch("SELECT * FROM calls.participants ORDER BY seat")
    told = await archive.record([early])
    again = await archive.record([early])

    assert await _checks_out(pool, early) == BOTH
    kept = await database.fetchrow("SELECT version, extensions FROM calls.calls")
    assert kept is not None
    assert tuple(kept) == (late.version, late.extensions)
    assert await database.fetch("SELECT * FROM calls.participants ORDER BY seat") == before
    assert (told.updated, again.updated) == (1, 0)
