"""A TCP proxy to a Redis or Valkey that loses what the server sends: whole pushes and answers, of the test's choice.

A publication whose push is lost was sent and is never heard, as when a replica is promoted or a buffer overflows; the
connection stays as it is, and nobody is told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

Loses = Callable[[bytes], bool]
"""Whether something that the server sends, as its bytes, is lost."""


def nothing(_: bytes) -> bool:
    return False


def pushes(_channel: str, *, with_: bytes = b"") -> Loses:
    """Messages published to this channel, all or those with these bytes in them."""
    begins = b">3\r\n", b"message\r\n"
    channel = _channel.encode()
    return lambda item: (
        item.startswith(begins[0]) and begins[1] in item[:30] and channel in item and with_ in item
    )


class LosingProxy:
    """Stands before a server on loopback."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.loses: Loses = nothing
        self.lost: list[bytes] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(
            self._parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}")
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LosingProxy"]:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        for work in (self._ask(reader, to_there), self._answer(there, writer)):
            pump = asyncio.create_task(work)
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        buffer = b""
        with suppress(OSError):
            while data := await source.read(65_536):
                buffer += data
                while (end := end_of_item(buffer, 0)) is not None:
                    item, buffer = buffer[:end], buffer[end:]
                    if self.loses(item):
                        self.lost.append(item)
                    else:
                        sink.write(item)
                await sink.drain()
        sink.close()


def end_of_item(data: bytes, start: int) -> int | None:
    """Where the RESP3 item ends that begins at `start`; None where it is not all there."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    kind, rest, end = data[start : start + 1], data[start + 1 : line], line + 2
    if kind in b"$=!":
        end += int(rest) + 2 if int(rest) >= 0 else 0
        return end if end <= len(data) else None
    if kind in b"*>~%":
        for _ in range(max(0, int(rest)) * (2 if kind == b"%" else 1)):
            inner = end_of_item(data, end)
            if inner is None:
                return None
            end = inner
    return end
