"""A recorder of blocks and reports in a process of its own, to be killed.

python safety_recorder_process.py <redis URL> <database URL> <name>
"""

import asyncio
import sys

import structlog
from prometheus_client import CollectorRegistry

from jobs.persistence import Retries
from jobs.safety_recorder import SafetyPace, SafetyRecorder
from safety.metrics import SafetyRecorderMetrics
from storage.postgres.pool import open_pool
from storage.postgres.safety import PostgresSafety
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.safety import RedisPendingRecords


async def main(redis_url: str, database_url: str, name: str) -> None:
    redis = connect(redis_url)
    pool = await open_pool(database_url, max_size=2, timeout_s=20)
    recorder = SafetyRecorder(
        RedisPendingRecords(redis, Keys("test:"), claim_after_ms=300),
        PostgresSafety(pool, timeout_s=20),
        SafetyRecorderMetrics(CollectorRegistry()),
        name,
        lambda: 0.5,
        pace=SafetyPace(batch=7, wait_ms=100, retries=Retries(0.05, 0.2)),
    )
    print("up", flush=True)
    await recorder.run()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
