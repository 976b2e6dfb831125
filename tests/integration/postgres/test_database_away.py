"""What callers see when PostgreSQL is gone, silent, full or busy: `Unavailable`, in bounded time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from base.errors import Unavailable
from minuet.embedded import EmbeddedPostgres
from storage.postgres.migrations import migrate
from storage.postgres.pool import acquire, open_pool, ping, transaction
from tests.fixtures.waiting import until

TIMEOUT_S = 1.5


@pytest.fixture
async def pool(private_postgres: EmbeddedPostgres) -> AsyncIterator[Any]:
    await migrate(private_postgres.url)
    opened = await open_pool(private_postgres.url, max_size=2, timeout_s=TIMEOUT_S)
    yield opened
    opened.terminate()


async def ask(pool: Any) -> int:
    async with acquire(pool, timeout_s=TIMEOUT_S) as connection:
        answer: int = await connection.fetchval("SELECT 1")
        return answer


async def answers(pool: Any) -> int:
    """What is answered once something is: a server that has just started, or is busy, may be away for a moment."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask(pool)
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_a_killed_server_is_unavailable_and_comes_back(
    pool: Any, private_postgres: EmbeddedPostgres
) -> None:
    """The same pool serves again once the server does."""
    assert await answers(pool) == 1
    await private_postgres.kill()
    for _ in range(3):
        with pytest.raises(Unavailable) as refusal:
            await ask(pool)
    await private_postgres.start()

    assert await answers(pool) == 1
    assert refusal.value.retry_after_ms


async def test_a_silent_server_is_unavailable_in_bounded_time(
    pool: Any, private_postgres: EmbeddedPostgres
) -> None:
    """Stopped, not closed: nothing answers and nothing is refused. Connections in use and new ones alike."""
    await answers(pool)
    private_postgres.pause()
    began = time.monotonic()
    outcomes = await asyncio.gather(*(ask(pool) for _ in range(4)), return_exceptions=True)
    took_s = time.monotonic() - began
    private_postgres.resume()

    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert took_s < 6 * TIMEOUT_S
    assert await answers(pool) == 1


async def test_a_pool_opens_while_the_server_is_away(private_postgres: EmbeddedPostgres) -> None:
    """A hub starts without its history; with connections wanted at once, opening tells."""
    await private_postgres.kill()
    pool = await open_pool(private_postgres.url, timeout_s=TIMEOUT_S)

    with pytest.raises(Unavailable):
        await ping(pool)
    with pytest.raises(Unavailable):
        await open_pool(private_postgres.url, min_size=1, timeout_s=TIMEOUT_S)
    await private_postgres.start()
    await answers(pool)
    await ping(pool)
    await pool.close()


async def test_waiting_for_a_free_connection_is_bounded(pool: Any) -> None:
    """With all of them busy the next caller is told to come back."""
    async with acquire(pool), acquire(pool):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await ask(pool)

    assert time.monotonic() - began < 4 * TIMEOUT_S
    assert await answers(pool) == 1


async def test_a_statement_that_takes_too_long_is_cut(pool: Any) -> None:
    """On the server too, and the connection is of use again."""
    with pytest.raises(Unavailable):
        async with acquire(pool) as connection:
            await connection.fetchval("SELECT pg_sleep(60)")

    assert await answers(pool) == 1

    async def nobody_sleeps() -> bool:
        async with acquire(pool) as connection:
            sleeping = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active'"
                " AND pid <> pg_backend_pid()"
            )
        return bool(sleeping == 0)

    await until(nobody_sleeps)


async def test_a_row_that_stays_locked_is_unavailable(pool: Any) -> None:
    """Not a wait without end behind somebody who hangs."""
    async with acquire(pool) as connection:
        await connection.execute("CREATE TABLE t AS SELECT 1 AS id")
    async with transaction(pool) as holder:
        await holder.execute("SELECT * FROM t FOR UPDATE")
        with pytest.raises(Unavailable):
            async with transaction(pool) as waiter:
                await waiter.execute("SELECT * FROM t FOR UPDATE")


async def test_a_mistake_of_ours_is_not_an_outage(pool: Any) -> None:
    """A wrong statement and a broken constraint stay what they are, and nothing of them is kept."""
    with pytest.raises(asyncpg.UndefinedTableError):
        async with acquire(pool) as connection:
            await connection.execute("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with transaction(pool) as connection:
            await connection.execute("CREATE TABLE kept (id int); SELECT 1 / 0")

    async with acquire(pool) as connection:
        assert await connection.fetchval("SELECT to_regclass('kept')") is None


async def test_json_comes_back_as_it_went_in(pool: Any) -> None:
    """Columns of type jsonb hold plain values."""
    value = {"a": [1, None, "é", {"b": True}]}
    async with acquire(pool) as connection:
        assert await connection.fetchval("SELECT $1::jsonb", value) == value
