"""A TCP balancer as stands before hubs: each connection goes to the first backend that takes it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit


class Balancer:
    """Listens on a port of its own; knows nothing of what it passes on."""

    def __init__(self, *backends: str) -> None:
        self.backends: Sequence[str] = backends
        """Base URLs, the preferred one first; connections that stand stay where they are."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Balancer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Resets every connection that stands, as a network that changes does."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for backend in self.backends:
            address = urlsplit(backend)
            try:
                far_reader, far_writer = await asyncio.open_connection(address.hostname, address.port)
            except OSError:
                continue
            ends = {writer, far_writer}
            self._open |= ends
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pass_on(reader, far_writer))
                tasks.create_task(_pass_on(far_reader, writer))
            self._open -= ends
            return
        writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    # Either end has gone: so does the other, at once.
    writer.transport.abort() if reader.exception() else writer.close()
