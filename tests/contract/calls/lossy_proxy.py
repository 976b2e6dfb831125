"""A TCP proxy that can lose an answer: it cuts the connection after the server has done what it was asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass
class LossyProxy:
    """Passes bytes on; `lost` counts answers that never arrived."""

    url: str
    lose_next: bool = False
    lose_answer_to: bytes | None = None
    """What a command has in it whose answer is to be lost, once."""
    lost: int = 0


@asynccontextmanager
async def lossy_proxy(
    server_url: str, *, certificate: ssl.SSLContext | None = None
) -> AsyncIterator[LossyProxy]:
    """A proxy in front of `server_url`, for the length of the block; with a certificate its clients have to speak TLS."""
    target = urlsplit(server_url)
    proxy = LossyProxy("")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(65_536):
            if not answers and proxy.lose_answer_to is not None and proxy.lose_answer_to in data:
                proxy.lose_next, proxy.lose_answer_to = True, None
            if answers and proxy.lose_next:
                proxy.lose_next = False
                proxy.lost += 1
                break
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(target.hostname, target.port)
        ways = [
            asyncio.ensure_future(pump(reader, to_server[1], answers=False)),
            asyncio.ensure_future(pump(to_server[0], writer, answers=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_server[1].close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate)
    port = server.sockets[0].getsockname()[1]
    user, _, _ = target.netloc.rpartition("@")
    dialled = target._replace(netloc=f"{user}@127.0.0.1:{port}")
    proxy.url = urlunsplit(dialled if certificate is None else dialled._replace(scheme="rediss"))
    async with server:
        yield proxy
