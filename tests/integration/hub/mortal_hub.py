"""A process that dies at a step: a proxy before Redis that kills whoever it serves when a script was run so many times.

The process is killed with -9 after Redis has done the step and before it learns of that, or before the step is done.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis


def script_text(name: str) -> str:
    return files("storage.redis").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")


async def load_all_scripts(redis: Redis) -> None:
    """So that the first call of each is a call and not an error."""
    for path in files("storage.redis").joinpath("scripts").iterdir():
        if path.name.endswith(".lua"):
            await redis.script_load(path.read_text(encoding="utf-8"))


@dataclass
class Doom:
    """When a process dies: at the `nth` run of a script, `before` it or after it."""

    script: str
    nth: int = 1
    before: bool = False

    def __str__(self) -> str:
        return f"{'before' if self.before else 'after'} {self.script} {self.nth}"


class DeadlyProxy:
    """Counts the runs of one script that pass."""

    def __init__(self, doom: Doom) -> None:
        self.doom = doom
        self.url = ""
        self.kill: Callable[[], None] = lambda: None
        self.died = asyncio.Event()
        self._sha = sha1(script_text(doom.script).encode(), usedforsecurity=False).hexdigest().encode()
        self._left = doom.nth

    def comes(self, data: bytes) -> bool:
        """Whether the step is in what the process sends now."""
        self._left -= data.count(self._sha)
        return self._left <= 0 and not self.died.is_set()

    def strike(self) -> None:
        self.kill()
        self.died.set()


@asynccontextmanager
async def deadly_proxy(server_url: str, doom: Doom) -> AsyncIterator[DeadlyProxy]:
    """A proxy in front of `server_url`, for the length of the block."""
    target = urlsplit(server_url)
    proxy = DeadlyProxy(doom)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(target.hostname, target.port)
        doomed = False

        async def ask() -> None:
            nonlocal doomed
            while data := await reader.read(65_536):
                if proxy.comes(data):
                    doomed = True
                    if doom.before:
                        proxy.strike()
                        return
                to_server.write(data)
                await to_server.drain()

        async def answer() -> None:
            while data := await from_server.read(65_536):
                if doomed:
                    # Redis has done it; the process never hears of it.
                    proxy.strike()
                    return
                writer.write(data)
                await writer.drain()

        ways = [asyncio.ensure_future(ask()), asyncio.ensure_future(answer())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_server.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    user, _, _ = target.netloc.rpartition("@")
    port = server.sockets[0].getsockname()[1]
    proxy.url = urlunsplit(target._replace(netloc=f"{user}@127.0.0.1:{port}"))
    async with server:
        yield proxy
