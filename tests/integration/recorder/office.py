"""People whose calls end, and what becomes of these calls, on real servers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from signaling.call.record import Call
from signaling.call.states import State
from signaling.ports import StoredCall
from storage.redis.calls import RedisCallStore, RedisEndedCalls
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.contract.calls.call_records import connected, moved, now_ms, proposed
from tests.contract.recorder.archive_rows import add_pair

ROOT = Path(__file__).parents[3]
PREFIX = "office:"

# Each table, and whether it holds a call's rows as often as it should.
HISTORY = """
SELECT
    c.id, c.version,
    (SELECT count(*) FROM calls.participants p WHERE p.call_id = c.id) AS people,
    (SELECT count(*) FROM calls.consent_events e WHERE e.call_id = c.id) AS events,
    c.connection_id IS NOT NULL AS connected
FROM calls.calls c
"""


@dataclass
class Office:
    """Ends calls and compares history with what ended."""

    redis: Redis
    redis_url: str
    database_url: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    ended: dict[str, Call] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = Keys(PREFIX)
        self.store = RedisCallStore(self.redis, self.keys)
        self.waiting = RedisEndedCalls(self.redis, self.keys)

    async def add_people(self, pairs: int) -> None:
        connection = await asyncpg.connect(self.database_url)
        self.pairs = [await add_pair(connection) for _ in range(pairs)]
        await connection.close()

    async def end_call(self) -> StoredCall:
        """One call from match to end; every third makes a connection."""
        number = len(self.ended)
        call = proposed(*self.pairs[number % len(self.pairs)])
        stored = await self.store.create(call, claimed_at_ms=now_ms())
        assert stored is not None
        end = moved(stored.call, State.ENDED)
        return await self.commit(stored, connected(end) if number % 3 == 0 else end)

    async def commit(self, before: StoredCall, call: Call) -> StoredCall:
        after = await self.store.commit(before, call)
        assert after is not None
        self.ended[call.call_id] = call
        return after

    async def end_calls(self, count: int) -> None:
        for _ in range(count):
            await self.end_call()

    @asynccontextmanager
    async def calls_ending(self) -> AsyncIterator[None]:
        """Calls end one after the other for the length of the block."""
        over = False

        async def go_on() -> None:
            while not over:
                await self.end_call()
                # So many as can be recorded afterwards in the time of a test.
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            try:
                yield
            finally:
                over = True

    async def left(self) -> int:
        return (await self.waiting.waiting(passing_over=())).total

    async def everything_recorded(self, *, timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while await self.left():
                await asyncio.sleep(0.02)

    async def history(self) -> dict[str, tuple[int, int, int, bool]]:
        connection = await asyncpg.connect(self.database_url)
        rows = await connection.fetch(HISTORY)
        await connection.close()
        # A list would show doubles; the primary key allows none, so the number of rows says the same.
        return {
            str(row["id"]): (row["version"], row["people"], row["events"], row["connected"]) for row in rows
        }

    def expected(self) -> dict[str, tuple[int, int, int, bool]]:
        return {
            call_id: (call.version, 2, len(call.events), call.connected)
            for call_id, call in self.ended.items()
        }

    def start_recorder(self) -> "subprocess.Popen[str]":
        """A recorder in a process of its own, already at work."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.integration.recorder.recorder_process",
                self.redis_url,
                self.database_url,
                PREFIX,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "recording\n"
        return process


@asynccontextmanager
async def open_office(redis_url: str, database_url: str, *, pairs: int) -> AsyncIterator[Office]:
    redis = connect(redis_url)
    try:
        office = Office(redis, redis_url, database_url)
        await office.add_people(pairs)
        yield office
    finally:
        await redis.aclose()
