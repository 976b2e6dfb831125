"""The door of the public port: who comes with a WebSocket handshake goes straight in, everybody else to aiohttp.

Decides by a socket's first bytes. A handshake for our path that came whole, as nearly all do, is parsed by aiohttp's parser,
within its limits, and answered here: it needs neither a handler with its tasks and timers, nor a request, a route and
middlewares, which cost more than all the rest of letting somebody in. Whatever is not exactly that is aiohttp's, from its first byte:
requests, handshakes in pieces, what cannot be parsed. Refuses to know who is let in (`signaling.upgrade`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import AppKey

from signaling.connection import Connection
from signaling.handshake import Head, Refused
from signaling.upgrade import Entrance

SILENCE_S: Final = 75.0
"""For so long a socket may say nothing at all: as long as aiohttp lets one that has said something."""
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Door:
    """What leads in behind a path."""

    path: str
    entrance: Entrance
    answered: Callable[[int], None]
    """Told the status of each answer that aiohttp knows nothing of."""


DOOR: Final = AppKey("websocket door", Door)
"""Where an app says what its WebSocket door leads to, for whoever serves it."""


class Porch:
    """All sockets that have said nothing yet; makes the first protocol of each."""

    def __init__(
        self, door: Door, http: Callable[[], asyncio.Protocol], *, silence_s: float = SILENCE_S
    ) -> None:
        """`http` makes the protocol of those who want something else."""
        self.door = door
        self.http = http
        self.first_line = f"GET {door.path} HTTP/1.1\r\n".encode()
        self._loop = asyncio.get_running_loop()
        self._silence_s = silence_s
        self._silent: dict[Doorway, float] = {}
        """Until when each may say nothing; the oldest first."""
        self._look: asyncio.TimerHandle | None = None
        # The parser wants one to hold back; nobody comes in here whose request has more than a head.
        self._nobody = BaseProtocol(self._loop)

    def __call__(self) -> asyncio.Protocol:
        return Doorway(self)

    def came(self, doorway: "Doorway") -> None:
        """A socket is there."""
        self._silent[doorway] = self._loop.time() + self._silence_s
        if self._look is None:
            self._look = self._loop.call_later(self._silence_s, self._send_away_the_silent)

    def left(self, doorway: "Doorway") -> None:
        """It has said something, or is gone."""
        self._silent.pop(doorway, None)

    def handshake_in(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head of a handshake that is whole, and what came after it; None for anything else."""
        if not data.startswith(self.first_line):
            return None
        try:
            messages, is_upgrade, rest = HttpRequestParser(self._nobody, self._loop, _READ_BYTES).feed_data(
                data
            )
        except HttpProcessingError:
            return None
        if not is_upgrade or len(messages) != 1 or messages[0][1] is not EMPTY_PAYLOAD:
            return None
        message = messages[0][0]
        return Head(message.method, message.version, message.headers, has_body=False, is_upgrade=True), rest

    def close(self) -> None:
        """Sends away who has said nothing yet."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for doorway in tuple(self._silent):
            doorway.close()

    def _send_away_the_silent(self) -> None:
        self._look = None
        now = self._loop.time()
        for doorway, until in tuple(self._silent.items()):
            if until > now:
                self._look = self._loop.call_later(until - now, self._send_away_the_silent)
                return
            doorway.close()


class Doorway(asyncio.Protocol):
    """One socket until its first bytes."""

    __slots__ = ("_porch", "_transport")

    def __init__(self, porch: Porch) -> None:
        self._porch = porch
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._porch.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._porch.left(self)
        self._transport = None

    def close(self) -> None:
        """Hangs up."""
        self._porch.left(self)
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        transport, porch = self._transport, self._porch
        if transport is None or transport.is_closing():
            return
        porch.left(self)
        found = porch.handshake_in(data)
        if found is None:
            http = porch.http()
            transport.set_protocol(http)
            http.connection_made(transport)
            http.data_received(data)
            return
        head, rest = found
        door = porch.door
        remote = door.entrance.client_address(_address_of(transport), head.headers)
        try:
            handshake = door.entrance.check(head, remote)
        except Refused as refused:
            transport.write(_refusal(refused))
            transport.close()
            door.answered(refused.status)
            return

        def take(transport: asyncio.Transport, connection: Connection) -> bytes:
            transport.set_protocol(connection)
            return rest

        door.answered(HTTPStatus.SWITCHING_PROTOCOLS)
        door.entrance.let_in(transport, remote, handshake, take)


def _address_of(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _refusal(refused: Refused) -> bytes:
    body = refused.body
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Date": formatdate(usegmt=True),
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **refused.headers,
    }
    lines = [f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
