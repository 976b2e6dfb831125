"""A client on a database of the test's own, of one server: these tests have no second run on a cluster."""

import pytest
from redis.asyncio import Redis


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    return one_redis
