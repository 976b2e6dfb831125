"""A worker of its own, beside a database with old calls."""

import asyncio

import asyncpg

from storage.postgres.calls import PostgresCallArchive
from tests.contract.calls.call_records import now_ms
from tests.contract.recorder.agreed_calls import DAY_MS, agreed
from tests.contract.recorder.archive_rows import add_pair, report
from tests.fixtures.deployment import Deploy

CALLS_WITH_A_LOG = "SELECT DISTINCT call_id FROM calls.consent_events"


async def test_a_worker_purges_what_is_old_enough_and_held_by_nobody(
    deploy: Deploy, database_url: str
) -> None:
    """By the setting: a log of three days where two are kept; not the one of a report, nor a younger one."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool, pool.acquire() as database:
        pair = await add_pair(database)
        old, held = (agreed(*pair, at=now_ms() - 3 * DAY_MS) for _ in range(2))
        young = agreed(*pair, at=now_ms() - DAY_MS)
        await PostgresCallArchive(pool).record([old, held, young])
        await report(pool, held, made_at=now_ms())

        await deploy("worker", MINUET_CONSENT_KEPT_DAYS="2")
        async with asyncio.timeout(30):
            while len(rows := await database.fetch(CALLS_WITH_A_LOG)) == 3:
                await asyncio.sleep(0.05)

        assert {str(row["call_id"]) for row in rows} == {held.call_id, young.call_id}
