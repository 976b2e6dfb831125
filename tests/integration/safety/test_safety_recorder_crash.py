"""A recorder of blocks and reports dies at the worst moments: each report is in the archive exactly once."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import SystemClock
from base.ids import IdFactory, UserId
from minuet.embedded import EmbeddedPostgres
from safety.metrics import SafetyMetrics
from safety.records import ReportCategory
from safety.service import Safety
from storage.postgres.migrations import migrate
from storage.postgres.pool import open_pool
from storage.postgres.safety import PostgresSafety
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.safety import GROUP, RedisSafetyLog
from tests.contract.recorder.archive_rows import add_user
from tests.fixtures.waiting import WAIT_S, until
from tests.integration.bus.stalling_proxy import StallingProxy

KEYS = Keys("test:")
ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("safety_recorder_process.py")
COUNT_REPORTS = "SELECT count(*) FROM safety.reports"
_names = itertools.count(1)


class Office:
    """Where reports are made and counted."""

    def __init__(self, redis: Redis, database: asyncpg.Connection, safety: Safety) -> None:
        self.redis = redis
        self.database = database
        self.safety = safety
        self.made: set[str] = set()
        self._people: tuple[UserId, UserId] | None = None

    async def report(self, count: int) -> None:
        if self._people is None:
            first, second = [await add_user(self.database, "Ada", "female") for _ in range(2)]
            self._people = UserId(first), UserId(second)
        ann, bob = self._people
        for number in range(count):
            self.made.add(
                await self.safety.report(
                    ann, bob, call_id=None, category=ReportCategory.OTHER, note=f"{number}", now_ms=number
                )
            )

    async def taken(self) -> int:
        """How many entries some recorder holds."""
        if not await self.redis.exists(KEYS.safety_pending()):
            return 0
        groups = await self.redis.xinfo_groups(KEYS.safety_pending())
        return sum(group["pending"] for group in groups if group["name"] == GROUP.encode())

    async def rows(self) -> int:
        number: int = await self.database.fetchval(COUNT_REPORTS)
        return number

    async def assert_each_once(self) -> None:
        """Everything that was made is in the archive, nothing else is, and nothing waits any more."""
        async with asyncio.timeout(WAIT_S):
            while await self.redis.xlen(KEYS.safety_pending()) or await self.taken():
                await asyncio.sleep(0.05)
        archived = [str(row["id"]) for row in await self.database.fetch("SELECT id FROM safety.reports")]

        assert len(archived) == len(set(archived))
        assert set(archived) == self.made
        assert await self.redis.xlen(f"{KEYS.safety_pending()}:refused") == 0


async def open_office(redis: Redis, database_url: str) -> Office:
    pool = await open_pool(database_url, max_size=1)
    new_id = IdFactory(SystemClock().wall_ms, os.urandom).new
    safety = Safety(
        RedisSafetyLog(redis, KEYS), PostgresSafety(pool), new_id, SafetyMetrics(CollectorRegistry())
    )
    return Office(redis, await asyncpg.connect(database_url), safety)


@pytest.fixture
async def office(redis_url: str, database_url: str) -> AsyncIterator[Office]:
    redis = connect(redis_url)
    office = await open_office(redis, database_url)
    yield office
    await office.database.close()
    await redis.aclose()


@contextmanager
def recorder(redis_url: str, database_url: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), redis_url, database_url, f"recorder {next(_names)}"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def locked_reports(database_url: str) -> AsyncIterator[None]:
    """Nobody can write reports meanwhile; whoever tries waits inside its transaction."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE safety.reports IN SHARE MODE")
            yield
    finally:
        await connection.close()


async def test_killed_before_its_transaction_commits(
    office: Office, redis_url: str, database_url: str
) -> None:
    """It has taken entries and waits for a lock inside its transaction: another recorder takes over."""
    await office.report(20)

    async def has_taken() -> bool:
        return await office.taken() > 0

    async with locked_reports(database_url):
        with recorder(redis_url, database_url) as first:
            await until(has_taken)
            first.send_signal(signal.SIGKILL)
            first.wait()
        rows = await office.rows()
    with recorder(redis_url, database_url):
        await office.assert_each_once()

    assert rows == 0


async def test_killed_after_its_commit_and_before_it_could_say_so(
    office: Office, redis_url: str, database_url: str
) -> None:
    """The rows are there and the entries still wait: whoever writes them again writes nothing."""
    await office.report(5)

    async def has_taken() -> bool:
        return await office.taken() == 5

    async def has_committed() -> bool:
        return await office.rows() == 5

    async with StallingProxy(redis_url).running() as proxy:
        with recorder(proxy.url, database_url) as first:
            async with locked_reports(database_url):
                await until(has_taken)
                proxy.stall()
            await until(has_committed)
            first.send_signal(signal.SIGKILL)
            first.wait()
            proxy.cut()
    waiting = await office.redis.xlen(KEYS.safety_pending())
    with recorder(redis_url, database_url):
        await office.assert_each_once()

    assert waiting == 5


async def test_killed_again_and_again_while_reports_come_in(
    office: Office, redis_url: str, database_url: str
) -> None:
    """Two recorders at a time, each killed at a random moment, with reports all the while."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(3):
        with recorder(redis_url, database_url) as first, recorder(redis_url, database_url) as second:
            await office.report(30)
            await asyncio.sleep(moments.uniform(0, 0.15))
            first.send_signal(signal.SIGKILL)
            await asyncio.sleep(moments.uniform(0, 0.05))
            second.send_signal(signal.SIGKILL)
    with recorder(redis_url, database_url):
        await office.assert_each_once()

    assert len(office.made) == 90


async def test_reports_wait_while_the_database_is_away(redis_url: str, tmp_path: Path) -> None:
    """Reports are accepted all the same, and written once it is back."""
    redis = connect(redis_url)
    # A durable one: what it confirmed must survive the kill.
    async with EmbeddedPostgres(tmp_path) as postgres:
        await migrate(postgres.url)
        office = await open_office(redis, postgres.url)
        with recorder(redis_url, postgres.url):
            await office.report(10)
            await until_rows(office, 10)
            await until(lambda: nothing_waits(redis))
            await postgres.kill()
            await office.report(10)
            await asyncio.sleep(0.5)
            waiting = await redis.xlen(KEYS.safety_pending())
            await postgres.start()
            office.database = await asyncpg.connect(postgres.url)
            await office.assert_each_once()
        await office.database.close()
    await redis.aclose()

    assert waiting == 10
    assert len(office.made) == 20


async def nothing_waits(redis: Redis) -> bool:
    return not await redis.xlen(KEYS.safety_pending())


async def until_rows(office: Office, count: int) -> None:
    async def are_there() -> bool:
        return await office.rows() == count

    await until(are_there)
