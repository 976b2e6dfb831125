"""What every role stands on: clocks, ids, Redis, PostgreSQL, the registry of metrics."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

import asyncpg
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.ids import IdFactory
from minuet.settings import Settings, require
from minuet.telemetry import new_registry
from storage.postgres.metrics import ReplicaMetrics
from storage.postgres.pool import open_pool
from storage.postgres.reads import ReplicaReads
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.metrics import ClusterMetrics

_REDIS_CONNECTIONS = 64
_DATABASE_CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class Foundation:
    """Open resources and shared values of one process."""

    settings: Settings
    role: str
    clock: ServerClock
    ids: IdFactory
    random: Random
    redis: Redis
    keys: Keys
    database: "asyncpg.Pool[asyncpg.Record]"
    replica: ReplicaReads | None
    """The database's read replica, where there is one."""
    registry: CollectorRegistry


async def open_foundation(stack: AsyncExitStack, settings: Settings, role: str) -> Foundation:
    """Opens everything; `stack` closes it. Raises: InvalidSettings where an address is missing."""
    require(settings, "redis_url", "database_url")
    clock = ServerClock(SystemClock())
    registry = new_registry(role)
    redis = connect(
        str(settings.redis_url),
        max_connections=_REDIS_CONNECTIONS,
        cluster=settings.redis_cluster,
        metrics=ClusterMetrics(registry) if settings.redis_cluster else None,
    )
    stack.push_async_callback(redis.aclose)
    database = await open_pool(
        str(settings.database_url), max_size=_DATABASE_CONNECTIONS, name=f"minuet-{role}"
    )
    stack.callback(database.terminate)
    replica: ReplicaReads | None = None
    if settings.database_replica_url is not None:
        replica_pool = await open_pool(
            settings.database_replica_url, max_size=_DATABASE_CONNECTIONS, name=f"minuet-{role}"
        )
        stack.callback(replica_pool.terminate)
        max_age_ms = round(settings.database_replica_max_age_s * 1000)
        metrics = ReplicaMetrics(registry)
        replica = ReplicaReads(database, replica_pool, clock, metrics, max_age_ms=max_age_ms)
    return Foundation(
        settings=settings,
        role=role,
        clock=clock,
        ids=IdFactory(clock.now_ms, secrets.token_bytes),
        random=Random(),  # noqa: S311  spreads load, guards nothing
        redis=redis,
        keys=Keys(settings.redis_prefix),
        database=database,
        replica=replica,
        registry=registry,
    )
