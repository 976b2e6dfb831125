"""Growing delays on a real Valkey, against `accounts.ports.LoginGuard`."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from minuet.embedded import EmbeddedValkey
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.rate_limits import Delays, RedisLoginGuard
from tests.contract.calls.lossy_proxy import lossy_proxy

KEYS = Keys("test:")
PAIR = Delays(free=3, first_s=30, longest_s=60, remembered_s=600)
ACCOUNT = Delays(free=6, first_s=20, longest_s=20, remembered_s=600)
HERE, THERE = "192.0.2.1", "198.51.100.1"


def nonce() -> str:
    return uuid4().hex


@pytest.fixture
def guard(redis: Redis) -> RedisLoginGuard:
    return RedisLoginGuard(redis, KEYS, nonce, pair=PAIR, account=ACCOUNT)


async def test_the_first_failures_cost_nothing(guard: RedisLoginGuard) -> None:
    """People mistype; the one after those comes too early."""
    waits = [await guard.attempt("ada", HERE) for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 30_000


async def test_the_delay_doubles_up_to_its_longest(redis: Redis) -> None:
    """0.1, 0.2, then 0.3 s, told in milliseconds; a refused attempt does not make it longer."""
    pair = Delays(free=3, first_s=0.1, longest_s=0.3, remembered_s=60)
    guard = RedisLoginGuard(redis, KEYS, nonce, pair=pair, account=Delays(1_000, 1, 1, 60))
    loop = asyncio.get_running_loop()
    failures, began, at = 0, 0.0, loop.time()
    for _ in range(4):
        # The free ones, and on a machine so slow that a delay is over before anybody asks, others.
        while not (wait_ms := await guard.attempt("ada", HERE)):
            failures, began, at = failures + 1, at, loop.time()
        delay_ms = min(300, 100 * 2 ** (failures - pair.free))
        passed_ms = (loop.time() - began) * 1000

        assert failures >= pair.free
        assert wait_ms <= delay_ms <= wait_ms + passed_ms + 2
        assert await guard.attempt("ada", HERE) <= wait_ms
        await asyncio.sleep(wait_ms / 1000 + 0.01)
        began = loop.time()
        assert await guard.attempt("ada", HERE) == 0
        failures, at = failures + 1, loop.time()


async def test_others_are_not_delayed(guard: RedisLoginGuard) -> None:
    """Neither another account from there nor, at first, the same account from elsewhere."""
    while not await guard.attempt("ada", HERE):
        pass

    assert await guard.attempt("eve", HERE) == 0
    assert await guard.attempt("ada", THERE) == 0


async def test_many_addresses_together_are_delayed_mildly(guard: RedisLoginGuard) -> None:
    """Guessing one account from everywhere is slowed down too, and the owner never waits long."""
    waits = [await guard.attempt("ada", f"192.0.2.{number}") for number in range(8)]

    assert waits[:6] == [0] * 6
    assert 0 < waits[6] <= 20_000


async def test_success_forgets_the_failures(guard: RedisLoginGuard, redis: Redis) -> None:
    """Nothing is left of them."""
    await guard.attempt("ada", HERE)
    await guard.succeeded("ada", HERE)

    assert await redis.dbsize() == 0


async def test_attempts_at_once_are_counted_each(guard: RedisLoginGuard) -> None:
    """A hundred guesses in one moment are three guesses."""
    waits = await asyncio.gather(*(guard.attempt("ada", HERE) for _ in range(100)))

    assert waits.count(0) == PAIR.free


async def test_an_attempt_whose_answer_was_lost_is_counted_once(redis_url: str) -> None:
    """Asked again by the client itself, it does not come too early after itself."""
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        guard = RedisLoginGuard(client, KEYS, nonce, pair=Delays(1, 60, 60, 60), account=ACCOUNT)
        # The scripts are there by then: what gets lost is the answer of a command that did its work.
        await guard.attempt("eve", HERE)
        proxy.lose_next = True
        wait_ms = await guard.attempt("ada", HERE)
        too_early_ms = await guard.attempt("ada", HERE)
        await client.aclose()

    assert proxy.lost == 1
    assert wait_ms == 0
    assert too_early_ms > 0


async def test_failures_are_forgotten_in_time(redis: Redis) -> None:
    """Every key has an end."""
    guard = RedisLoginGuard(redis, KEYS, nonce)
    await guard.attempt("ada", HERE)

    keys = await redis.keys("*")
    assert len(keys) == 2
    for key in keys:
        assert 0 < await redis.ttl(key) <= 3_600


async def test_without_redis_there_are_no_attempts(private_valkey: EmbeddedValkey) -> None:
    """Guessing must not become free by taking Redis away."""
    client = connect(private_valkey.url, timeout_s=0.5)
    guard = RedisLoginGuard(client, KEYS, nonce)
    await private_valkey.kill()

    with pytest.raises(Unavailable):
        await guard.attempt("ada", HERE)
    with pytest.raises(Unavailable):
        await guard.succeeded("ada", HERE)
    await client.aclose()
