"""How Redis is reached: no cancellation gets lost, and an absent server is `Unavailable` in bounded time."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
import uvloop

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


@pytest.fixture
def hangs_up() -> Iterator[int]:
    """The port of somebody who accepts connections and cuts them at once, as a server that is being killed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def cut_each() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    thread = threading.Thread(target=cut_each)
    thread.start()
    yield listener.getsockname()[1]
    # Closing alone would leave the thread waiting.
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_connection_that_is_cut_when_it_is_made_is_unavailable(hangs_up: int) -> None:
    """Whichever way the event loop has to say so; one in ten comes as a RuntimeError of uvloop's."""

    async def ask_often() -> None:
        redis = connect(f"redis://127.0.0.1:{hangs_up}", timeout_s=5)
        for _ in range(150):
            with pytest.raises(Unavailable), unavailable_when_away():
                await redis.get("key")
            with pytest.raises(Unavailable), unavailable_when_away():
                await redis.xread({"stream": "0"}, block=1)
        await redis.aclose()

    uvloop.run(ask_often())
