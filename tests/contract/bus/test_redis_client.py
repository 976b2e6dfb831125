"""How Redis is reached: no cancellation gets lost, and an absent server is `Unavailable` in bounded time."""

import asyncio

import pytest

from base.errors import Unavailable
from storage.redis.client import connect, unavailable_when_away


async def test_a_cancelled_task_ends_whatever_it_was_doing(redis_url: str) -> None:
    """Cancelled at any step of a command, a loop that uses Redis stops: otherwise no process could."""
    redis = connect(redis_url)

    async def ask_for_ever() -> None:
        while True:
            await redis.ping()

    for steps in range(400):
        task = asyncio.create_task(ask_for_ever())
        for _ in range(steps % 40):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done

    assert await redis.ping()
    await redis.aclose()


async def test_an_absent_server_is_unavailable() -> None:
    """The typed error, with a time to come back, instead of whatever the library raises."""
    redis = connect("redis://127.0.0.1:1", timeout_s=0.5)

    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(5):
            with unavailable_when_away():
                await redis.ping()

    assert caught.value.retry_after_ms
    await redis.aclose()
