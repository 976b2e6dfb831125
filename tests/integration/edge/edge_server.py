"""A real aiohttp server with the edge in it, a listener that writes down what it is told, and a client of raw bytes."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from signaling.connection import Connection, ConnectionSettings
from signaling.doorway import Door, Porch
from signaling.handshake import UpgradeSettings
from signaling.upgrade import Admission, ConnectionInfo, Entrance, websocket_handler
from tests.integration.edge import ways

ORIGIN = "https://app.example"
PATIENCE_S = 15.0
CLOSE_TIMEOUT_S = 0.3
"""For who gives no answer to a close. Who does is waited for, however slow the machine: no test that is about something
else may end by this bound."""


class Recorder:
    """Echoes what comes and writes down all it is told."""

    def __init__(self, connection: Connection, info: ConnectionInfo) -> None:
        self.connection = connection
        self.info = info
        self.messages: list[tuple[bytes, bool]] = []
        self.traffic = 0
        self.writing: list[str] = []
        self.closed: list[tuple[int, bool]] = []
        self._gone = asyncio.Event()

    def message_received(self, payload: bytes, binary: bool) -> None:
        self.messages.append((payload, binary))
        self.connection.send(payload)

    def traffic_seen(self) -> None:
        self.traffic += 1

    def writing_paused(self) -> None:
        self.writing.append("paused")

    def writing_resumed(self) -> None:
        self.writing.append("resumed")

    def connection_closed(self, code: int, clean: bool) -> None:
        self.closed.append((code, clean))
        self._gone.set()

    async def end(self) -> tuple[int, bool]:
        """Wait until the connection is closed; say how."""
        await asyncio.wait_for(self._gone.wait(), PATIENCE_S)
        await asyncio.sleep(0.02)  # time for a second call, which must not come
        [how] = self.closed
        return how


@dataclass
class Edge:
    """A running server; `listeners` in the order in which their connections came."""

    runner: web.AppRunner
    port: int
    scheme: str
    listeners: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """The statuses of what the door answered itself."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1/ws"

    async def listener(self, number: int = 0) -> Any:
        """The listener of the n-th connection, as soon as there is one."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.listeners) <= number:
                await asyncio.sleep(0.001)
        return self.listeners[number]


def always(*_: object) -> None:
    """An admission that lets everybody in."""


@asynccontextmanager
async def running_edge(
    make_listener: Callable[[Connection, ConnectionInfo], Any] = Recorder,
    *,
    settings: UpgradeSettings | None = None,
    admission: Admission | None = None,
    tls: ssl.SSLContext | None = None,
    prepare: Callable[[web.Application], None] | None = None,
    close_timeout_s: float = 2 * PATIENCE_S,
    **runner_options: Any,
) -> AsyncIterator[Edge]:
    """Serve the edge on a free port of this machine, by the way in `ways` names; by aiohttp's where its app is prepared."""
    if settings is None:
        connection = ConnectionSettings(max_message_bytes=65_536, close_timeout_s=close_timeout_s)
        settings = UpgradeSettings(allowed_origins=frozenset({ORIGIN}), connection=connection)
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=10.0, **runner_options)
    edge = Edge(runner, 0, "wss" if tls else "ws")

    def accept(connection: Connection, info: ConnectionInfo) -> Any:
        listener = make_listener(connection, info)
        edge.listeners.append(listener)
        return listener

    entrance = Entrance(settings, accept, lambda peer, _headers: peer, admission or _open_house())
    app.router.add_get("/v1/ws", websocket_handler(entrance))
    if prepare is not None:
        prepare(app)
    await runner.setup()
    assert runner.server is not None
    make: Callable[[], asyncio.Protocol] = runner.server
    if ways.through_the_door and prepare is None:
        make = Porch(Door("/v1/ws", entrance, edge.answers.append), runner.server)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls)
    edge.port = server.sockets[0].getsockname()[1]
    try:
        yield edge
    finally:
        for listener in edge.listeners:
            listener.connection.abort()
        server.close()
        await runner.cleanup()
        edge.listeners.clear()  # aiohttp keeps the app, and so the handler, in a cache of middlewares


def _open_house() -> Admission:
    return Admission(address_limit=always, accept_gate=always)


def handshake(port: int = 0, /, **changes: str | None) -> bytes:
    """The request of a correct client; a header by its name with `_`, None leaves it out."""
    headers: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "minuet.v1.json",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [
        "GET /v1/ws HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items() if value is not None),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class RawClient:
    """A client that sends what the test says, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transport: asyncio.Transport = writer.transport  # type: ignore[assignment]  # a socket's: it reads, too

    @classmethod
    async def dial(cls, edge: Edge, tls: ssl.SSLContext | None = None) -> Self:
        """Open the TCP (or TLS) connection only."""
        return cls(*await asyncio.open_connection("127.0.0.1", edge.port, ssl=tls))

    @classmethod
    async def connect(cls, edge: Edge, tls: ssl.SSLContext | None = None, first: bytes = b"") -> Self:
        """Open a WebSocket; `first` goes out in the same write as the handshake."""
        client = await cls.dial(edge, tls)
        client.send(handshake(edge.port) + first)
        status, _ = await client.response()
        assert status == 101
        return client

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> tuple[int, str]:
        """The head of an HTTP response: its status and all of it."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
        return int(head.split()[1]), head

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: its first byte and payload."""
        async with asyncio.timeout(PATIENCE_S):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8), "big")
            return first, await self.reader.readexactly(length)

    async def close_frame(self) -> tuple[int, str]:
        """Code and reason of the next frame, which must be a close frame."""
        first, payload = await self.frame()
        assert first == 0x88, (hex(first), payload)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def rest(self) -> bytes:
        """All until the server ends its side. Raises: ConnectionResetError where it cuts us off."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)

    async def send_until_reset(self, data: bytes) -> None:
        """Send this again and again. Raises: ConnectionError when the server has cut us off; TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.send(data)
                await self.writer.drain()
                await asyncio.sleep(0.01)

    async def hang_up(self) -> None:
        """End the TCP connection without a word."""
        self.transport.abort()
        await asyncio.sleep(0)
