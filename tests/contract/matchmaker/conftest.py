"""The stores of the matchmaker, each on an empty database of the run's Valkey."""

import pytest
from redis.asyncio import Redis

from storage.redis.activities import RedisActivities
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues


@pytest.fixture
def keys() -> Keys:
    return Keys("contract:")


@pytest.fixture
def queues(redis: Redis, keys: Keys) -> RedisQueues:
    return RedisQueues(redis, keys)


@pytest.fixture
def activities(redis: Redis, keys: Keys) -> RedisActivities:
    return RedisActivities(redis, keys)
