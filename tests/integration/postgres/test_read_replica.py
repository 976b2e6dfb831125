"""Histories come from a streaming replica while it is there and near, and from the primary else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from base.clock import SystemClock
from base.errors import Unavailable
from minuet.embedded import EmbeddedPostgres
from storage.postgres.metrics import ReplicaMetrics
from storage.postgres.pool import open_pool
from storage.postgres.reads import ReplicaReads
from tests.integration.postgres.standby import Standby

MAX_AGE_S = 3.0


@dataclass
class Pair:
    """A primary and its replica, which a test may break, and reads over both."""

    primary: EmbeddedPostgres
    standby: Standby
    writer: "asyncpg.Pool[asyncpg.Record]"
    reads: ReplicaReads
    registry: CollectorRegistry

    def by(self, who: str) -> float:
        return self.registry.get_sample_value("minuet_replica_reads_total", {"by": who}) or 0.0

    async def write(self, value: int) -> None:
        await self.writer.execute("INSERT INTO numbers VALUES ($1)", value)

    async def read(self) -> set[int]:
        return {row["number"] for row in await self.reads.fetch("SELECT number FROM numbers")}

    async def on_replica(self, statement: str) -> None:
        connection = await asyncpg.connect(self.standby.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


async def until_near(reads: ReplicaReads, near: bool = True) -> None:
    async with asyncio.timeout(30):
        while reads.is_near is not near:
            await asyncio.sleep(0.05)


@pytest.fixture
async def pair(private_postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Pair]:
    async with Standby(tmp_path / "standby", private_postgres) as standby:
        registry = CollectorRegistry()
        writer = await open_pool(private_postgres.url)
        replica = await open_pool(standby.url)
        reads = ReplicaReads(
            writer, replica, SystemClock(), ReplicaMetrics(registry), max_age_ms=round(MAX_AGE_S * 1000)
        )
        await writer.execute("CREATE TABLE numbers (number int)")
        watching = asyncio.create_task(reads.watch())
        await until_near(reads)
        yield Pair(private_postgres, standby, writer, reads, registry)
        watching.cancel()
        replica.terminate()
        writer.terminate()


async def test_what_was_written_is_read_from_the_replica(pair: Pair) -> None:
    """Soon after it was written; the primary is not asked."""
    await pair.write(1)
    async with asyncio.timeout(30):
        while await pair.read() != {1}:
            await asyncio.sleep(0.02)

    assert pair.by("replica") > 0
    assert pair.by("primary") == pair.by("replica_failed") == 0


async def test_a_replica_that_falls_behind_is_not_asked(pair: Pair) -> None:
    """Its replay stands still and it still answers: after the bound the primary is read, until it has caught up."""
    await pair.on_replica("SELECT pg_wal_replay_pause()")
    await pair.write(2)
    stale = await pair.read()
    await until_near(pair.reads, False)
    current = await pair.read()
    await pair.on_replica("SELECT pg_wal_replay_resume()")
    await until_near(pair.reads)
    caught_up = await pair.read()

    assert stale == set()
    assert current == caught_up == {2}
    assert pair.by("primary") == 1


async def test_a_killed_replica_costs_no_answer(pair: Pair) -> None:
    """kill -9 between two looks: the read that finds it dead is answered by the primary, and so are those after it."""
    await pair.write(3)
    await pair.standby.kill()

    answers = [await pair.read() for _ in range(5)]
    await until_near(pair.reads, False)
    answers.append(await pair.read())
    await pair.standby.start()
    await until_near(pair.reads)

    assert answers == [{3}] * 6
    assert pair.by("replica_failed") >= 1
    assert pair.by("primary") >= 1


async def test_a_stopped_replica_delays_a_read_and_does_not_lose_it(pair: Pair) -> None:
    """SIGSTOP: connections stay open and nobody answers; the read goes to the primary after two seconds."""
    await pair.write(4)
    await pair.read()
    pair.standby.pause()
    try:
        async with asyncio.timeout(30):
            answer = await pair.read()
    finally:
        pair.standby.resume()

    assert answer == {4}


async def test_while_the_primary_is_away_the_replica_answers(pair: Pair) -> None:
    """It has all that can be had, however old; and nobody writes meanwhile."""
    await pair.write(5)
    async with asyncio.timeout(30):
        while await pair.read() != {5}:
            await asyncio.sleep(0.02)
    await pair.primary.kill()

    await asyncio.sleep(MAX_AGE_S + 2)
    answer = await pair.read()
    await pair.standby.kill()
    with pytest.raises(Unavailable):
        await pair.read()

    assert answer == {5}
