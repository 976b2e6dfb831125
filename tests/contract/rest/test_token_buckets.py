"""Token buckets on a real Valkey, against `rest.ports.RateLimiter`."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from minuet.embedded import EmbeddedValkey
from rest.ports import Bucket
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.rate_limits import RedisRateLimiter
from tests.fixtures.waiting import until

KEYS = Keys("test:")


@pytest.fixture
def limiter(redis: Redis) -> RedisRateLimiter:
    return RedisRateLimiter(redis, KEYS)


async def test_a_bucket_gives_what_it_holds_and_then_says_when_to_come_back(
    limiter: RedisRateLimiter,
) -> None:
    """Ten a minute: after ten the next token is there in six seconds, a full bucket in sixty."""
    taken = [await limiter.take("http", "ada", capacity=10, window_ms=60_000) for _ in range(11)]

    assert [bucket.remaining for bucket in taken[:10]] == list(range(9, -1, -1))
    assert all(bucket.allowed for bucket in taken[:10])
    assert taken[0] == Bucket(True, 9, 6_000, 0)
    assert not taken[10].allowed
    assert taken[10].remaining == 0
    assert 5_500 < taken[10].retry_after_ms <= 6_000
    assert 59_000 < taken[10].reset_ms <= 60_000


async def test_tokens_come_back_evenly(limiter: RedisRateLimiter, redis: Redis) -> None:
    """Not all at once at the end of a window, and never more than the bucket holds."""
    for _ in range(10):
        await limiter.take("http", "ada", capacity=10, window_ms=600_000)
    refused = await limiter.take("http", "ada", capacity=10, window_ms=600_000)
    await redis.hincrby(KEYS.rate_limit("http", "ada"), "at", -150_000)
    again = [await limiter.take("http", "ada", capacity=10, window_ms=600_000) for _ in range(5)]
    await redis.hincrby(KEYS.rate_limit("http", "ada"), "at", -650_000)
    full = await limiter.take("http", "ada", capacity=10, window_ms=600_000)

    assert not refused.allowed
    assert [bucket.allowed for bucket in again] == [True, True, False, False, False]
    assert full.remaining == 9


async def test_of_requests_at_once_just_as_many_pass(limiter: RedisRateLimiter) -> None:
    """One script, one decision: nothing is counted twice or not at all."""
    taken = await asyncio.gather(
        *(limiter.take("http", "ada", capacity=20, window_ms=600_000) for _ in range(60))
    )

    assert [bucket.allowed for bucket in taken].count(True) == 20


async def test_subjects_and_scopes_have_buckets_of_their_own(limiter: RedisRateLimiter) -> None:
    """Addresses of both kinds among them."""
    for subject in ("192.0.2.1", "2001:db8::/64", "ada"):
        for scope in ("http-user", "http-login"):
            bucket = await limiter.take(scope, subject, capacity=1, window_ms=60_000)
            assert bucket.allowed


async def test_a_limit_that_changed_holds_at_once(limiter: RedisRateLimiter) -> None:
    """A bucket never holds more than today's capacity."""
    await limiter.take("http", "ada", capacity=1_000, window_ms=60_000)

    bucket = await limiter.take("http", "ada", capacity=5, window_ms=60_000)
    assert bucket.remaining == 4


async def test_a_bucket_lives_until_it_is_full(limiter: RedisRateLimiter, redis: Redis) -> None:
    """Nothing stays behind of callers who left."""
    await limiter.take("http", "ada", capacity=10, window_ms=600_000)

    assert 0 < await redis.pttl(KEYS.rate_limit("http", "ada")) <= 60_000
    await limiter.take("http", "bob", capacity=10, window_ms=1_000)
    await until(lambda: is_gone(redis, KEYS.rate_limit("http", "bob")))


async def is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def test_without_redis_the_limiter_says_so_in_bounded_time(private_valkey: EmbeddedValkey) -> None:
    """Killed or silent: what to do about it is not its decision."""
    client = connect(private_valkey.url, timeout_s=0.3)
    limiter = RedisRateLimiter(client, KEYS)
    private_valkey.pause()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await limiter.take("http", "ada", capacity=1, window_ms=1_000)
    took_s = time.monotonic() - began
    private_valkey.resume()
    await private_valkey.kill()

    with pytest.raises(Unavailable):
        await limiter.take("http", "ada", capacity=1, window_ms=1_000)
    assert took_s < 10
    await client.aclose()
