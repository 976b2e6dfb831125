"""Hashing: the right work, in few threads, with a bounded line."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry

from accounts.metrics import AccountMetrics
from accounts.passwords import Passwords
from base.errors import Unavailable


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def passwords(registry: CollectorRegistry) -> AsyncIterator[Passwords]:
    hashing = Passwords(AccountMetrics(registry), threads=1, waiting=2)
    yield hashing
    hashing.close()


@contextmanager
def working_slowly(passwords: Passwords) -> Iterator[None]:
    """No work is done before the end of the block, however long this machine takes to come there."""
    done = threading.Event()
    real = passwords._hasher

    class Slow:
        def hash(self, password: str) -> str:
            done.wait()
            return real.hash(password)

    passwords._hasher = Slow()  # type: ignore[assignment]  # waits for the test
    try:
        yield
    finally:
        done.set()
        passwords._hasher = real


def seconds_of_work(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("minuet_password_hash_seconds_sum") or 0.0


async def test_a_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    """Each hash has a salt of its own, and the parameters that OWASP advises."""
    stored = await passwords.hash("correct horse battery")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert stored != await passwords.hash("correct horse battery")
    assert await passwords.verify(stored, "correct horse battery")
    assert not await passwords.verify(stored, "correct horse batterz")


async def test_where_nothing_is_stored_the_same_work_is_done(
    passwords: Passwords, registry: CollectorRegistry
) -> None:
    """Otherwise the time of an answer would tell who has an account."""
    stored = await passwords.hash("correct horse battery")
    before = seconds_of_work(registry)
    assert not await passwords.verify(stored, "wrong")
    with_account = seconds_of_work(registry) - before
    before = seconds_of_work(registry)
    assert not await passwords.verify(None, "wrong")
    without_account = seconds_of_work(registry) - before

    assert without_account > with_account / 4


async def test_hashes_of_weaker_parameters_are_known(passwords: Passwords) -> None:
    """They are replaced at the next sign-in."""
    weak = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("correct horse battery")

    assert await passwords.verify(weak, "correct horse battery")
    assert passwords.needs_rehash(weak)
    assert not passwords.needs_rehash(await passwords.hash("correct horse battery"))


@pytest.mark.parametrize(
    "stored", ["", "plain", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1,t=1,p=1$x$y"]
)
async def test_a_hash_that_cannot_be_read_lets_nobody_in(passwords: Passwords, stored: str) -> None:
    """And breaks nothing."""
    assert not await passwords.verify(stored, "x")


async def test_a_line_that_is_too_long_is_refused_at_once(passwords: Passwords) -> None:
    """One works and two wait; the fourth is told to come back, and the three are served."""
    with working_slowly(passwords):
        three = [asyncio.create_task(passwords.hash("x")) for _ in range(3)]
        await asyncio.sleep(0)

        with pytest.raises(Unavailable) as refusal:
            await passwords.hash("x")
    assert refusal.value.retry_after_ms
    assert len(await asyncio.gather(*three)) == 3
    assert await passwords.hash("x")


async def test_work_whose_caller_left_still_counts_until_it_is_done(passwords: Passwords) -> None:
    """Else a client that hangs up and asks again would fill the threads without bound."""
    with working_slowly(passwords):
        three = [asyncio.create_task(passwords.hash("x")) for _ in range(3)]
        await asyncio.sleep(0.001)
        three[0].cancel()
        await asyncio.sleep(0)

        with pytest.raises(Unavailable):
            await passwords.hash("x")
    await asyncio.gather(*three, return_exceptions=True)
