"""`minuet check-consent`: holds every consent log of the database against its chain."""

import argparse
import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from typing import Any

import asyncpg

from base.errors import Unavailable
from minuet.commands.running import settings_of_a_tool
from minuet.settings import Settings, require
from signaling.call.consent import ChainState
from storage.postgres.consent import PostgresConsentAudit
from storage.postgres.migrations import check_schema
from storage.postgres.pool import open_pool

_TIMEOUT_S = 60.0
_CONNECT_S = 5.0
_NAME = "minuet-check-consent"


def add(commands: Any) -> None:
    parser = commands.add_parser("check-consent", help="say whether any consent log was changed")
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    settings = settings_of_a_tool()
    require(settings, "database_url")
    findings = asyncio.run(_check(settings))
    stripped = findings.stripped()
    for call_id in stripped:
        print(f"unsealed {call_id}")
    print(", ".join(f"{findings.counts[state]} {state}" for state in ChainState))
    return 1 if stripped or findings.counts[ChainState.BROKEN] else 0


@dataclass(slots=True)
class _Findings:
    """What the logs came to."""

    counts: Counter[ChainState] = field(default_factory=Counter)
    unsealed: list[tuple[int, str]] = field(default_factory=list)
    """When each call ended, and its id."""
    first_sealed_at: float = inf

    def stripped(self) -> list[str]:
        """Calls without hashes that ended when logs were sealed already: nobody but an older release writes such."""
        return [call_id for ended_at, call_id in sorted(self.unsealed) if ended_at > self.first_sealed_at]


async def _check(settings: Settings) -> _Findings:
    findings = _Findings()
    async with AsyncExitStack() as stack:
        pool = await _open(settings)
        stack.push_async_callback(pool.close)
        await check_schema(pool)
        async for log in PostgresConsentAudit(pool, timeout_s=_TIMEOUT_S).logs():
            verdict = log.verdict()
            findings.counts[verdict.state] += 1
            if verdict.state is ChainState.UNSEALED:
                findings.unsealed.append((log.ended_at, log.call_id))
                continue
            findings.first_sealed_at = min(findings.first_sealed_at, log.ended_at)
            if verdict.state is ChainState.BROKEN:
                print(f"broken {log.call_id} at entry {verdict.broken_at}")
    return findings


async def _open(settings: Settings) -> "asyncpg.Pool[asyncpg.Record]":
    """The replica where there is one, since this reads everything that there is; the primary where it is away."""
    if settings.database_replica_url is not None:
        try:
            # Opened with a connection at once, so that its absence shows here.
            async with asyncio.timeout(_CONNECT_S):
                return await open_pool(
                    settings.database_replica_url, min_size=1, max_size=1, timeout_s=_TIMEOUT_S, name=_NAME
                )
        except (Unavailable, TimeoutError):
            print("the replica is away: reading from the primary", file=sys.stderr)
    return await open_pool(str(settings.database_url), max_size=1, timeout_s=_TIMEOUT_S, name=_NAME)
