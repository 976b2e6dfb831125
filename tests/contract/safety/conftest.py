"""Both stores, the service over them, and people to block."""

import os
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import SystemClock
from base.ids import IdFactory, UserId
from safety.metrics import SafetyMetrics
from safety.service import Safety
from storage.postgres.safety import PostgresSafety
from storage.redis.keys import Keys
from storage.redis.safety import RedisPendingRecords, RedisSafetyLog
from tests.contract.recorder.archive_rows import add_user

AddUser = Callable[[], Awaitable[UserId]]


@pytest.fixture
def add_person(database: asyncpg.Connection) -> AddUser:
    async def add() -> UserId:
        return UserId(await add_user(database, "Ada", "female"))

    return add


@pytest.fixture
def new_id() -> Callable[[], str]:
    return IdFactory(SystemClock().wall_ms, os.urandom).new


@pytest.fixture
def log(redis: Redis, keys: Keys) -> RedisSafetyLog:
    return RedisSafetyLog(redis, keys)


@pytest.fixture
def pending(redis: Redis, keys: Keys) -> RedisPendingRecords:
    return RedisPendingRecords(redis, keys, claim_after_ms=2_000)


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresSafety:
    return PostgresSafety(pool)


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def safety(
    log: RedisSafetyLog, archive: PostgresSafety, new_id: Callable[[], str], metrics: CollectorRegistry
) -> Safety:
    return Safety(log, archive, new_id, SafetyMetrics(metrics))
