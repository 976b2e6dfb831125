"""A pool and a plain connection on the test's own database; a client on the test's own Redis."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from redis.asyncio import Redis

from storage.postgres.pool import open_pool
from storage.redis.client import connect


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database_url, max_size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()
