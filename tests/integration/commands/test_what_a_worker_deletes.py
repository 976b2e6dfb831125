"""A worker that starts deletes what has been kept for long enough, by its settings, and counts it."""

import asyncio

import aiohttp
import asyncpg

from tests.contract.calls.call_records import new_id
from tests.fixtures.deployment import Deploy, Deployment

ADD_LINES = """
INSERT INTO safety.audit_log (id, at, actor_id, action)
SELECT gen_random_uuid(), now() - days * interval '1 day', $1, 'report.read' FROM unnest($2::int[]) AS days
"""


async def metrics_of(deployment: Deployment) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{deployment.of('worker').admin}/metrics") as answer,
    ):
        return await answer.text()


async def test_a_worker_deletes_what_its_settings_say(deploy: Deploy, database_url: str) -> None:
    """More than a share of it at once; what is younger stays, and so does what is kept for good."""
    database = await asyncpg.connect(database_url)
    try:
        await database.execute(ADD_LINES, new_id(), [*range(8, 1_508), 1, 6])
        await database.execute(
            """
            INSERT INTO accounts.users (id, email, password_hash, first_name, gender, birth_date, created_at, updated_at)
            VALUES ($1, 'ada@example.test', 'x', 'Ada', 'female', '1995-05-05', now(), now())
            """,
            author := new_id(),
        )
        await database.execute(
            "INSERT INTO calls.feedback VALUES ($1, $2, 5, '{}', NULL, now() - interval '9 years', now())",
            new_id(),
            author,
        )
        deployment = await deploy("worker", MINUET_AUDIT_KEPT_DAYS="7", MINUET_HISTORY_KEPT_DAYS="0")
        async with asyncio.timeout(60):
            while 'minuet_purged_total{what="audit_log"} 1500.0' not in (
                page := await metrics_of(deployment)
            ):
                await asyncio.sleep(0.1)

        assert await database.fetchval("SELECT count(*) FROM safety.audit_log") == 2
        assert await database.fetchval("SELECT count(*) FROM calls.feedback") == 1
        assert 'minuet_purge_share_seconds_count{what="audit_log"} 2.0' in page
        assert 'minuet_purge_failures_total{what="audit_log"} 0.0' in page
    finally:
        await database.close()
