"""Somebody who comes to the door again and again, and notes every time that nobody opened."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: minuet\r\nConnection: close\r\n\r\n"


@dataclass
class Knocks:
    """What became of the attempts."""

    answered: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


async def knock(url: str) -> str:
    """One connection and one request; the first line of the answer. Raises: OSError, EOFError."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(_REQUEST)
        answer = await reader.read()
        if not answer:
            raise EOFError("closed without an answer")
        return answer.split(b"\r\n", 1)[0].decode()
    finally:
        writer.close()


@asynccontextmanager
async def knocking(url: str, *, at_once: int = 4, pause_s: float = 0.005) -> AsyncIterator[Knocks]:
    """Knocks without end as long as the block lasts."""
    knocks = Knocks()
    loop = asyncio.get_running_loop()

    async def one() -> None:
        while True:
            began = loop.time()
            try:
                line = await knock(url)
                if "200" not in line:
                    knocks.failures.append(line)
            except (OSError, EOFError) as error:
                knocks.failures.append(repr(error))
            knocks.answered += 1
            knocks.slowest_s = max(knocks.slowest_s, loop.time() - began)
            await asyncio.sleep(pause_s)

    tasks = [asyncio.create_task(one()) for _ in range(at_once)]
    try:
        yield knocks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
