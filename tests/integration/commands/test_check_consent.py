"""`minuet check-consent`, on a database in which somebody has been."""

import asyncio
import os
import sys

import asyncpg

from storage.postgres.calls import PostgresCallArchive
from storage.postgres.consent import PostgresConsentAudit
from tests.contract.recorder.agreed_calls import ENDED_AT, agreed
from tests.contract.recorder.archive_rows import add_pair


async def check(database_url: str) -> tuple[int | None, list[str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "minuet",
        "check-consent",
        env={**inherited, "MINUET_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode, output.decode().splitlines()


async def test_the_command_names_the_calls_whose_log_was_changed(database_url: str) -> None:
    """Or stripped of its hashes, when those of earlier calls had theirs; before that, it says that all is well."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool, pool.acquire() as database:
        calls = [
            agreed(*await add_pair(database), at=ENDED_AT + number, entries=number) for number in range(4)
        ]
        await PostgresCallArchive(pool).record(calls)
        before = await check(database_url)
        async with database.transaction():
            await database.execute("SET LOCAL session_replication_role = replica")
            await database.execute(
                "UPDATE calls.consent_events SET by_seat = 'a' WHERE call_id = $1 AND number = 1",
                calls[2].call_id,
            )
            await database.execute(
                "UPDATE calls.calls SET consent_entries = NULL, consent_head = NULL WHERE id = ANY ($1)",
                [calls[0].call_id, calls[3].call_id],
            )
            await database.execute(
                "UPDATE calls.consent_events SET hash = NULL WHERE call_id = $1", calls[3].call_id
            )
        after = await check(database_url)

        assert before == (0, ["4 intact, 0 broken, 0 unsealed"])
        assert after == (
            1,
            [
                f"broken {calls[2].call_id} at entry 1",
                f"unsealed {calls[3].call_id}",
                "1 intact, 1 broken, 2 unsealed",
            ],
        )
        in_shares = [log.call_id async for log in PostgresConsentAudit(pool).logs(at_once=2)]
        assert in_shares == sorted(call.call_id for call in calls)
