"""What nobody but the store knows is on a replica before anybody is told that it is done."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from base.ids import UserId
from minuet.embedded import EmbeddedValkey
from safety.records import Report, ReportCategory
from storage.redis.client import connect
from storage.redis.copies import WAIT_MS
from storage.redis.keys import Keys
from storage.redis.safety import RedisSafetyLog
from tests.fixtures.cluster import Cluster

KEYS = Keys("test:")


def report() -> Report:
    return Report(
        id="r1",
        by_id=UserId("ann"),
        other_id=UserId("bob"),
        call_id=None,
        category=ReportCategory.SCAM,
        note="",
        made_at=1_000,
    )


@pytest.fixture
async def replica(private_valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """Of the private server, and up to date."""
    async with EmbeddedValkey(tmp_path / "replica", durable=False) as server:
        primary, copy = connect(private_valkey.url), connect(server.url)
        password = private_valkey.url.partition("://:")[2].partition("@")[0]
        await primary.config_set("repl-diskless-sync-delay", 0)
        await copy.config_set("primaryauth", password)
        await copy.replicaof("127.0.0.1", private_valkey.port)
        async with asyncio.timeout(30):
            while (await copy.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.05)
        yield server
        await primary.aclose()
        await copy.aclose()


async def took_ms(log: RedisSafetyLog) -> float:
    started = time.monotonic()
    await log.add_report(report())
    return (time.monotonic() - started) * 1000


async def test_a_report_outlives_the_primary_that_acknowledged_it(private_cluster: Cluster) -> None:
    """Killed right after its answer, it has a successor that knows."""
    redis = connect(private_cluster.url, timeout_s=10, cluster=True)
    await redis.ping()
    log = RedisSafetyLog(redis, KEYS)
    primary = await private_cluster.primary_of(KEYS.safety_pending())

    made = 1
    while await took_ms(log) >= WAIT_MS - 10:
        # The replica was too busy to say that it has it: what nobody could confirm may be lost.
        made += 1
    await primary.kill()
    await private_cluster.failed_over(primary)

    assert await redis.xlen(KEYS.safety_pending()) == made
    await redis.aclose()


async def test_a_replica_that_does_not_answer_is_not_waited_for_long(private_cluster: Cluster) -> None:
    """The write stands without it."""
    redis = connect(private_cluster.url, timeout_s=10, cluster=True)
    await redis.ping()
    replica = await private_cluster.replica_of(await private_cluster.primary_of(KEYS.safety_pending()))

    replica.pause()
    waited = await took_ms(RedisSafetyLog(redis, KEYS))
    replica.resume()

    assert waited >= WAIT_MS - 10
    assert await redis.xlen(KEYS.safety_pending()) == 1
    await redis.aclose()


async def test_one_server_with_a_replica_waits_for_it(
    private_valkey: EmbeddedValkey, replica: EmbeddedValkey
) -> None:
    """Nobody has to set anything for it."""
    redis = connect(private_valkey.url)
    copy = connect(replica.url)
    log = RedisSafetyLog(redis, KEYS)
    made = 1
    while await took_ms(log) >= WAIT_MS - 10:
        # The replica was too busy to say that it has it.
        made += 1
    copied = await copy.xlen(KEYS.safety_pending())
    replica.pause()
    waited = await took_ms(log)
    replica.resume()
    await redis.aclose()
    await copy.aclose()

    assert copied == made
    assert waited >= WAIT_MS - 10


async def test_one_server_alone_waits_for_nobody(redis_url: str) -> None:
    """Whoever runs one server pays nothing."""
    redis = connect(redis_url)
    log = RedisSafetyLog(redis, KEYS)
    waited = min([await took_ms(log) for _ in range(30)])
    await redis.aclose()

    assert waited < WAIT_MS / 2
