"""The recorder on real servers, killed, doubled and cut off: history has each ended call exactly once."""

import asyncio
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from base.clock import SystemClock
from base.ids import CallId
from jobs.metrics import RecorderMetrics
from jobs.persistence import Retries
from jobs.ports import CallArchive, Recorded
from jobs.recorder import Pace, Recorder
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from signaling.call.record import Call
from signaling.call.states import State
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.migrations import migrate
from storage.postgres.pool import open_pool
from tests.contract.calls.call_records import moved
from tests.integration.recorder.office import Office, open_office

StartRecorder = Callable[[Office], "subprocess.Popen[str]"]


@pytest.fixture
def start_recorder() -> Iterator[StartRecorder]:
    """Starts recorders as processes; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(office: Office) -> "subprocess.Popen[str]":
        started.append(office.start_recorder())
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@asynccontextmanager
async def recording(
    office: Office, archive: CallArchive, registry: CollectorRegistry | None = None
) -> AsyncIterator[None]:
    """A recorder as a task of this process."""
    metrics = RecorderMetrics(registry or CollectorRegistry())
    pace = Pace(batch=10, idle_s=0.02, retries=Retries(0.05, 0.2))
    recorder = Recorder(office.waiting, archive, metrics, SystemClock(), random.random, pace=pace)
    task = asyncio.create_task(recorder.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def recorders_at_a_lock(connection: asyncpg.Connection) -> int:
    number: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'recorder-under-test' AND wait_event_type = 'Lock'"
    )
    return number


async def until(figure: Callable[[], Awaitable[float]], expected: float, *, timeout_s: float = 30.0) -> None:
    """Waits until a figure has come to exactly this."""
    async with asyncio.timeout(timeout_s):
        while await figure() != expected:
            await asyncio.sleep(0.01)


async def until_written(office: Office, least: int, *, timeout_s: float = 30.0) -> None:
    """Waits until history has this many calls; on a busy machine a look may come late and find more."""
    async with asyncio.timeout(timeout_s):
        while await _rows(office) < least:
            await asyncio.sleep(0.01)


async def until_counted(
    registry: CollectorRegistry, name: str, least: float, *, timeout_s: float = 30.0, **labels: str
) -> None:
    """Waits until a metric has come to at least this."""
    async with asyncio.timeout(timeout_s):
        while (registry.get_sample_value(name, labels) or 0) < least:
            await asyncio.sleep(0.01)


async def test_killed_in_the_middle_of_its_transaction_it_leaves_nothing_half_written(
    redis_url: str, database_url: str, start_recorder: StartRecorder
) -> None:
    """kill -9 after the calls and before their people: history has none of it, the next recorder has all of it."""
    async with open_office(redis_url, database_url, pairs=3) as office:
        await office.end_calls(25)
        watcher, blocker = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        async with blocker.transaction():
            # It can write calls, and then stands still before the participants.
            await blocker.execute("LOCK TABLE calls.participants IN ACCESS EXCLUSIVE MODE")
            process = start_recorder(office)
            await until(lambda: recorders_at_a_lock(watcher), 1)
            kill(process)
        await until(lambda: recorders_at_a_lock(watcher), 0)
        await blocker.close()
        await watcher.close()
        after_the_kill = await office.history()
        left = await office.left()
        start_recorder(office)
        await office.everything_recorded()

        assert (after_the_kill, left) == ({}, 25)
        assert await office.history() == office.expected()


async def test_killed_between_writing_and_releasing_it_leaves_each_call_once(
    private_valkey: EmbeddedValkey, database_url: str, start_recorder: StartRecorder
) -> None:
    """kill -9 when history has the calls and the list has them still: the next recorder changes nothing in history."""
    async with open_office(private_valkey.url, database_url, pairs=3) as office:
        await office.end_calls(25)
        await office.redis.client_pause(60_000, all=False)
        process = start_recorder(office)
        await until_written(office, 10)
        kill(process)
        await office.redis.client_unpause()
        left = await office.left()
        before = await _recorded_at(database_url)
        start_recorder(office)
        await office.everything_recorded()
        after = await _recorded_at(database_url)

        assert left == 25
        assert len(before) == 10
        assert before.items() <= after.items()
        assert await office.history() == office.expected()


async def test_killed_again_and_again_under_load_recorders_lose_and_double_nothing(
    redis_url: str, database_url: str, start_recorder: StartRecorder
) -> None:
    """Two at once, each killed at random moments while calls keep ending."""
    chance = random.Random(20261121)
    async with open_office(redis_url, database_url, pairs=5) as office:
        running = [start_recorder(office), start_recorder(office)]
        async with office.calls_ending():
            for _ in range(5):
                await asyncio.sleep(chance.uniform(0.01, 0.15))
                kill(running.pop(0))
                # In a thread: the calls go on ending while the new process starts.
                running.append(await asyncio.to_thread(start_recorder, office))
        await office.everything_recorded()

        assert len(office.ended) > 200
        assert await office.history() == office.expected()


async def test_several_recorders_share_one_list(
    redis_url: str, database_url: str, start_recorder: StartRecorder
) -> None:
    """Three processes at once: no failure, no double."""
    async with open_office(redis_url, database_url, pairs=5) as office:
        await office.end_calls(50)
        processes = [start_recorder(office) for _ in range(3)]
        await office.end_calls(150)
        await office.everything_recorded()

        assert [process.poll() for process in processes] == [None] * 3
        assert await office.history() == office.expected()


async def test_calls_that_end_while_postgresql_is_down_are_in_history_once_it_is_back(
    redis_url: str, private_postgres: EmbeddedPostgres
) -> None:
    """Killed in the middle of the work, away for a while, started again: delayed, never lost; operators saw it."""
    await migrate(private_postgres.url)
    pool = await open_pool(private_postgres.url, timeout_s=2)
    registry = CollectorRegistry()
    async with (
        open_office(redis_url, private_postgres.url, pairs=3) as office,
        recording(office, PostgresCallArchive(pool, timeout_s=2), registry),
    ):
        await office.end_calls(20)
        await until(office.left, 0)
        async with office.calls_ending():
            await asyncio.sleep(0.2)
            await private_postgres.kill()
            await until_counted(registry, "minuet_recorder_failures_total", 2, cause="database")
        left_while_away = await office.left()
        backlog = registry.get_sample_value("minuet_recorder_backlog") or 0
        lag_s = registry.get_sample_value("minuet_recorder_lag_seconds") or 0
        await private_postgres.start()
        await office.everything_recorded()
        history = await office.history()

        assert left_while_away > 0
        assert backlog > 0
        assert lag_s > 0
        assert len(office.ended) > 20
        assert history == office.expected()
    await pool.close()


async def test_a_call_leaves_the_list_only_when_its_history_is_on_disk(
    redis_url: str, private_postgres: EmbeddedPostgres
) -> None:
    """Also where the database is set to answer before it has written: it loses what it said yes to when it is killed."""
    await migrate(private_postgres.url)
    connection = await asyncpg.connect(private_postgres.url)
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    pool = await open_pool(private_postgres.url, timeout_s=2)
    async with open_office(redis_url, private_postgres.url, pairs=3) as office:
        async with recording(office, PostgresCallArchive(pool, timeout_s=2)):
            await office.end_calls(20)
            await until(office.left, 0)
            await private_postgres.kill()
        await private_postgres.start()

        assert await office.history() == office.expected()
    await pool.close()


async def test_calls_are_recorded_when_redis_was_killed_and_started_again(
    private_valkey: EmbeddedValkey, database_url: str
) -> None:
    """With its data on disk the list is still there; the recorder goes on by itself."""
    pool = await open_pool(database_url)
    async with open_office(private_valkey.url, database_url, pairs=3) as office:
        await office.end_calls(30)
        # The append-only file is flushed once a second: what is not on disk dies with the server.
        await asyncio.sleep(1.2)
        async with recording(office, _Slow(PostgresCallArchive(pool))):
            await until_written(office, 10)
            await private_valkey.kill()
            await asyncio.sleep(0.3)
            await private_valkey.start()
            await office.everything_recorded()

        assert await office.history() == office.expected()
    await pool.close()


async def test_a_call_that_changes_between_writing_and_releasing_is_written_again(
    redis_url: str, database_url: str
) -> None:
    """History ends up with the version that stands, and the call leaves the list only then."""
    pool = await open_pool(database_url)
    async with open_office(redis_url, database_url, pairs=1) as office:
        stored = await office.end_call()
        changing = _Changing(PostgresCallArchive(pool), office)
        async with recording(office, changing):
            await office.everything_recorded()
        left_in_redis = await office.store.load(stored.call.call_id)

        assert changing.versions == [2, 3]
        assert left_in_redis is not None
        assert left_in_redis.call.version == 3
        assert await office.history() == office.expected()
    await pool.close()


async def test_a_call_of_people_who_are_gone_stays_on_the_list_and_holds_up_nobody(
    redis_url: str, database_url: str
) -> None:
    """The account was deleted for good: the call cannot be written, all others can."""
    pool = await open_pool(database_url)
    registry = CollectorRegistry()
    async with open_office(redis_url, database_url, pairs=2) as office:
        connection = await asyncpg.connect(database_url)
        await connection.execute("DELETE FROM accounts.users WHERE id = $1", office.pairs[0][0])
        await connection.close()
        await office.end_calls(20)
        async with recording(office, PostgresCallArchive(pool), registry):
            await until_written(office, 10)
            await until_counted(registry, "minuet_recorder_set_aside", 10)
            left = await office.left()

        assert left == 10
        assert len(await office.history()) == 10
    await pool.close()


class _Slow:
    """Takes its time, so that a test can interfere between two batches."""

    def __init__(self, archive: CallArchive) -> None:
        self._archive = archive

    async def record(self, calls: Sequence[Call], *, apart: Collection[CallId] = ()) -> Recorded:
        recorded = await self._archive.record(calls, apart=apart)
        await asyncio.sleep(0.1)
        return recorded


class _Changing:
    """Changes the first call that it wrote before the recorder can release it."""

    def __init__(self, archive: CallArchive, office: Office) -> None:
        self._archive = archive
        self._office = office
        self.versions: list[int] = []

    async def record(self, calls: Sequence[Call], *, apart: Collection[CallId] = ()) -> Recorded:
        recorded = await self._archive.record(calls, apart=apart)
        self.versions += [call.version for call in calls]
        if len(self.versions) == 1:
            stored = await self._office.store.load(calls[0].call_id)
            assert stored is not None
            await self._office.commit(stored, moved(stored.call, State.ENDED))
        return recorded


async def _rows(office: Office) -> int:
    return len(await office.history())


async def _recorded_at(database_url: str) -> dict[str, object]:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT id, recorded_at FROM calls.calls")
    await connection.close()
    return {str(row["id"]): row["recorded_at"] for row in rows}
