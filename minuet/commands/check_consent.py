"""`minuet check-consent`: holds every consent log of the database against its chain."""

import argparse
import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from minuet.commands.running import settings_of_a_tool
from minuet.settings import require
from signaling.call.consent import ChainState
from storage.postgres.consent import PostgresConsentAudit
from storage.postgres.migrations import check_schema
from storage.postgres.pool import open_pool

_TIMEOUT_S = 60.0


def add(commands: Any) -> None:
    parser = commands.add_parser("check-consent", help="say whether any consent log was changed")
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    settings = settings_of_a_tool()
    require(settings, "database_url")
    counts = asyncio.run(_check(str(settings.database_url)))
    print(", ".join(f"{counts[state]} {state}" for state in ChainState))
    return 1 if counts[ChainState.BROKEN] else 0


async def _check(url: str) -> Counter[ChainState]:
    counts: Counter[ChainState] = Counter()
    async with AsyncExitStack() as stack:
        pool = await open_pool(url, max_size=1, timeout_s=_TIMEOUT_S, name="minuet-check-consent")
        stack.push_async_callback(pool.close)
        await check_schema(pool)
        async for log in PostgresConsentAudit(pool, timeout_s=_TIMEOUT_S).logs():
            verdict = log.verdict()
            counts[verdict.state] += 1
            if verdict.state is ChainState.BROKEN:
                print(f"broken {log.call_id} at entry {verdict.broken_at}")
    return counts
