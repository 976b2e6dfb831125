"""The way in for WebSockets: a checked handshake is answered, and its socket becomes a `Connection`.

Decides in which order a handshake is checked and counted. Refuses to know what a good one looks like (`signaling.handshake`)
and what becomes of the connection. What needs a count or a clock (limits per address, the accept gate of the node) and the
list of trusted proxies is injected.

Most clients come through `signaling.doorway`, which asks aiohttp for nothing but the parsed head. The route for aiohttp is
for those whose handshake comes in pieces, or over a connection that has served requests before. After the 101 aiohttp
keeps nothing: its request, parser, task and timers are let go, and the transport's protocol is a `Connection`, which costs
a tenth of the memory and half of the time per message. `_take_transport` is the only place that leans on the insides of
aiohttp's server, and a test fails when an aiohttp changes them.
"""

import logging
import math
from asyncio import Transport
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from base.errors import CloseCode, ErrorCode
from signaling.connection import Connection, ConnectionListener
from signaling.handshake import MSGPACK, Handshake, Head, Refused, UpgradeSettings, checked

logger = logging.getLogger(__name__)

_TOO_MANY: Final = (ErrorCode.RATE_LIMITED, "too many connection attempts from this address")
_NOT_NOW: Final = (ErrorCode.UNAVAILABLE, "this server takes no more connections at the moment")


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What the handshake said of the client. The address is resolved through trusted proxies."""

    remote: str
    subprotocol: str
    user_agent: str
    origin: str | None = None
    bearer_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """Who is let in: each answers None for yes, or after how many seconds to come back."""

    address_limit: Callable[[str], float | None]
    accept_gate: Callable[[], float | None]


# Makes the session of a new connection. Both live from here on; raising closes the connection with 4000.
Accept = Callable[[Connection, ConnectionInfo], ConnectionListener]
Headers = CIMultiDict[str] | CIMultiDictProxy[str]
ClientAddress = Callable[[str, Headers], str]
"""Who a client is behind the address that a socket comes from, by what trusted proxies say."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Entrance:
    """Lets clients in, from whichever door."""

    def __init__(
        self, settings: UpgradeSettings, accept: Accept, client_address: ClientAddress, admission: Admission
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._admission = admission
        self.client_address = client_address

    def check(self, head: Head, remote: str) -> Handshake:
        """The handshake of a client that may come in. Raises: Refused."""
        # The address pays for every attempt; the node's gate counts only those that would get in.
        _admit(self._admission.address_limit(remote), _TOO_MANY)
        handshake = checked(head, self._settings)
        _admit(self._admission.accept_gate(), _NOT_NOW)
        return handshake

    def let_in(
        self,
        transport: Transport,
        remote: str,
        handshake: Handshake,
        take: Callable[[Transport, Connection], bytes],
    ) -> None:
        """Answers 101 and begins; `take` makes the connection the transport's protocol, and returns what came already."""
        transport.write(handshake.answer())
        is_binary = handshake.subprotocol == MSGPACK
        connection = Connection(transport, remote, is_binary, self._settings.connection)
        first_bytes = take(transport, connection)
        info = ConnectionInfo(
            remote, handshake.subprotocol, handshake.user_agent, handshake.origin, handshake.bearer_token
        )
        try:
            connection.listen(self._accept(connection, info))
        except Exception:
            # Broad: a failure is this client's alone, and it is told.
            logger.exception("could not start a session for a new connection")
            connection.close(CloseCode.INTERNAL, "internal")
        if first_bytes:
            connection.data_received(first_bytes)


def websocket_handler(entrance: Entrance) -> Handler:
    """Return the aiohttp handler of the WebSocket route."""

    async def upgrade(request: web.Request) -> web.StreamResponse:
        remote = entrance.client_address(request.remote or "", request.headers)
        head = Head(
            request.method,
            request.version,
            request.headers,
            has_body=request.body_exists,
            is_upgrade=bool(request.protocol._upgraded),
        )
        try:
            handshake = entrance.check(head, remote)
        except Refused as refused:
            return _refusal(refused)
        transport = request.transport
        if transport is None or transport.is_closing():
            return web.Response(status=400)  # gone already: for the access log only
        entrance.let_in(transport, remote, handshake, lambda *both: _take_transport(request, *both))
        # aiohttp pauses a client that sends a lot before its handshake is answered.
        transport.resume_reading()
        return _Upgraded()

    return upgrade


class _Upgraded(web.StreamResponse):
    """What the handler returns when there is nothing left to answer: middlewares see an ordinary 101."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def _admit(retry_after_s: float | None, refusal: tuple[ErrorCode, str]) -> None:
    if retry_after_s is not None:
        raise Refused(*refusal, headers={hdrs.RETRY_AFTER: str(max(1, math.ceil(retry_after_s)))})


def _refusal(refused: Refused) -> web.Response:
    response = web.Response(
        status=refused.status, body=refused.body, content_type="application/json", headers=refused.headers
    )
    # What follows on this socket may be frames already; it is of no use as HTTP.
    response.force_close()
    return response


def _take_transport(request: web.Request, transport: Transport, connection: Connection) -> bytes:
    """Make the connection the transport's protocol, and aiohttp forget both; return what came after the request.

    Leans on the insides of aiohttp's `RequestHandler` (3.14.5): bytes after an upgrade request gather in
    `_message_tail`; with `transport` None, `connection_lost` cleans up and closes nothing.
    """
    handler = request.protocol
    first_bytes, handler._message_tail = handler._message_tail, b""
    transport.set_protocol(connection)
    handler.transport = None
    handler.connection_lost(None)
    return first_bytes
