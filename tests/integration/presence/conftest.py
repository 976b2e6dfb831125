"""A client of the run's Valkey, on an empty database."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from storage.redis.client import connect


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()
