"""Stores on the real servers, each test on a database of its own; a folder may have others."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from redis.asyncio import Redis

from storage.postgres.pool import open_pool
from storage.redis.keys import Keys


@pytest.fixture
def keys() -> Keys:
    return Keys("test:")


@pytest.fixture
def redis(each_redis: Redis) -> Redis:
    """On one server, and on a cluster."""
    return each_redis


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection, past the pool and what it prepares."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
