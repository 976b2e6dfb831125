"""A Redis client on a database of the test's own."""

import pytest
from redis.asyncio import Redis


@pytest.fixture
def redis(each_redis: Redis) -> Redis:
    """On one server, and on a cluster."""
    return each_redis
