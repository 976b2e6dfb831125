"""A recorder as a process of its own, for tests that kill it: `python -m ... <redis url> <database url> <prefix>`."""

import asyncio
import random
import sys

import structlog
from prometheus_client import CollectorRegistry

from base.clock import SystemClock
from jobs.metrics import RecorderMetrics
from jobs.recorder import Pace, Recorder
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.pool import open_pool
from storage.redis.calls import RedisEndedCalls
from storage.redis.client import connect
from storage.redis.keys import Keys


async def main(redis_url: str, database_url: str, prefix: str) -> None:
    # Standard output says only that the work has begun.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    redis = connect(redis_url, timeout_s=60)
    pool = await open_pool(database_url, timeout_s=60, name="recorder-under-test")
    recorder = Recorder(
        RedisEndedCalls(redis, Keys(prefix)),
        PostgresCallArchive(pool, timeout_s=60),
        RecorderMetrics(CollectorRegistry()),
        SystemClock(),
        random.random,
        pace=Pace(batch=10, idle_s=0.02),
    )
    print("recording", flush=True)
    await recorder.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
