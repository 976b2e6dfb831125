"""A client on a database of the test's own, of one server: these tests have no second run on a cluster."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from storage.redis.client import connect


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()
