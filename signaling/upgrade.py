"""The route `GET /v1/ws`: checks a WebSocket handshake and takes the socket away from aiohttp.

Decides which handshakes are refused, with which HTTP status, and which subprotocol is spoken. Refuses to know
who the client is: that is in its first message. What needs a count or a clock (limits per address, the accept
gate of the node) and the list of trusted proxies is injected.

After the 101 aiohttp keeps nothing: its request, parser, task and timers are let go, and the transport's protocol
is a `Connection`, which costs a tenth of the memory and half of the time per message. `_take_transport` is the
only place that leans on aiohttp's insides, and a test fails when an aiohttp changes them.
"""

import base64
import binascii
import logging
import math
import re
from asyncio import Transport
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final, Literal

import orjson
from aiohttp import HttpVersion11, hdrs, web

from base.errors import ERROR_SPECS, CloseCode, ErrorCode
from signaling.connection import Connection, ConnectionListener, ConnectionSettings

logger = logging.getLogger(__name__)

JSON: Final = "minuet.v1.json"
MSGPACK: Final = "minuet.v1.msgpack"
SUBPROTOCOLS: Final = (JSON, MSGPACK)

_MAX_USER_AGENT: Final = 256
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
# RFC 6454, 6.1: no path, no user, nothing to be lenient about. Hosts of browsers are ASCII (punycode).
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.\-]*)://(?P<host>[a-z0-9_.\-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """Who may connect from where. Raises: ValueError for an allowed origin that is none."""

    allowed_origins: frozenset[str] | Literal["*"] = frozenset()
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)

    def __post_init__(self) -> None:
        if self.allowed_origins != "*":
            origins = frozenset(_known_origin(origin) for origin in self.allowed_origins)
            object.__setattr__(self, "allowed_origins", origins)

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may connect; `null` only where it is listed."""
        return self.allowed_origins == "*" or normalised_origin(origin) in self.allowed_origins


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
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def websocket_handler(
    settings: UpgradeSettings,
    accept: Accept,
    client_address: Callable[[web.Request], str],
    admission: Admission,
) -> Handler:
    """Return the aiohttp handler of the WebSocket route."""

    async def upgrade(request: web.Request) -> web.StreamResponse:
        remote = client_address(request)
        try:
            # The address pays for every attempt; the node's gate counts only those that would get in.
            _admit(admission.address_limit(remote), _TOO_MANY)
            key = _check_headers(request)
            origin = _check_origin(request, settings)
            subprotocol = _choose_subprotocol(request)
            _admit(admission.accept_gate(), _NOT_NOW)
        except _Refused as refused:
            return refused.response()
        transport = request.transport
        if transport is None or transport.is_closing():
            return web.Response(status=400)  # gone already: for the access log only

        transport.write(_switching_protocols(key, subprotocol))
        connection = Connection(transport, remote, subprotocol == MSGPACK, settings.connection)
        first_bytes = _take_transport(request, transport, connection)
        _start(
            connection,
            accept,
            ConnectionInfo(
                remote=remote,
                subprotocol=subprotocol,
                user_agent=_clean(request.headers.get(hdrs.USER_AGENT, ""))[:_MAX_USER_AGENT],
                origin=None if origin is None else _clean(origin),
                bearer_token=_bearer_token(request),
            ),
        )
        if first_bytes:
            connection.data_received(first_bytes)
        # aiohttp pauses a client that sends a lot before its handshake is answered.
        transport.resume_reading()
        return _Upgraded()

    return upgrade


def normalised_origin(origin: str) -> str | None:
    """Return an origin in the one form that is compared: lower case, without a default port; None for no origin.

    `null`, which sandboxed pages and files send, stays as it is.
    """
    if origin == "null":
        return origin
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"


def _known_origin(origin: str) -> str:
    normalised = normalised_origin(origin)
    if normalised is None:
        raise ValueError(f"not an origin (scheme://host or scheme://host:port): {origin!r}")
    return normalised


class _Refused(Exception):
    """A handshake that is answered with an HTTP error."""

    def __init__(self, code: ErrorCode, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers

    def response(self) -> web.Response:
        error = {"code": self.code, "message": self.message, "details": None, "request_id": None}
        response = web.Response(
            status=ERROR_SPECS[self.code].status,
            body=orjson.dumps({"success": False, "error": error}),
            content_type="application/json",
            headers=self.headers,
        )
        # What follows on this socket may be frames already; it is of no use as HTTP.
        response.force_close()
        return response


class _Upgraded(web.StreamResponse):
    """What the handler returns when there is nothing left to answer: middlewares see an ordinary 101."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_TOO_MANY: Final = (ErrorCode.RATE_LIMITED, "too many connection attempts from this address")
_NOT_NOW: Final = (ErrorCode.UNAVAILABLE, "this server takes no more connections at the moment")


def _admit(retry_after_s: float | None, refusal: tuple[ErrorCode, str]) -> None:
    if retry_after_s is not None:
        raise _Refused(*refusal, headers={hdrs.RETRY_AFTER: str(max(1, math.ceil(retry_after_s)))})


def _check_headers(request: web.Request) -> bytes:
    """Return the client's key (RFC 6455, 4.2.1)."""
    headers = request.headers
    if (
        request.method != hdrs.METH_GET
        or "websocket" not in _tokens(request, hdrs.UPGRADE)
        or "upgrade" not in _tokens(request, hdrs.CONNECTION)
    ):
        raise _Refused(ErrorCode.INVALID_MESSAGE, "this address speaks WebSocket only")
    # The parser of aiohttp must have seen the upgrade as well, or it would have read frames as requests.
    if request.version != HttpVersion11 or request.body_exists or not _parser_has_stopped(request):
        raise _Refused(ErrorCode.INVALID_MESSAGE, "the handshake must be HTTP/1.1 without a body")
    if headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != ["13"]:
        raise _Refused(
            ErrorCode.INVALID_MESSAGE,
            "only version 13 of WebSocket is spoken",
            headers={hdrs.SEC_WEBSOCKET_VERSION: "13"},
        )
    keys = headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    try:
        is_key = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise _Refused(ErrorCode.INVALID_MESSAGE, "Sec-WebSocket-Key must be 16 bytes in base64")
    return keys[0].encode("ascii")


def _check_origin(request: web.Request, settings: UpgradeSettings) -> str | None:
    """Return the page's origin; None from a client that is no browser."""
    origins = request.headers.getall(hdrs.ORIGIN, [])
    if not origins:
        return None
    if len(origins) > 1 or not settings.allows(origins[0]):
        raise _Refused(ErrorCode.FORBIDDEN, "pages of this origin may not connect")
    return origins[0]


def _choose_subprotocol(request: web.Request) -> str:
    """Return the first subprotocol of the client's list that is spoken here."""
    for offered in _tokens(request, hdrs.SEC_WEBSOCKET_PROTOCOL, fold_case=False):
        if offered in SUBPROTOCOLS:
            return offered
    raise _Refused(ErrorCode.INVALID_MESSAGE, f"offer one of the subprotocols {', '.join(SUBPROTOCOLS)}")


def _tokens(request: web.Request, name: str, *, fold_case: bool = True) -> list[str]:
    joined = ",".join(request.headers.getall(name, []))
    return [token.strip() for token in (joined.lower() if fold_case else joined).split(",")]


def _bearer_token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return _clean(token.strip()) or None if scheme.lower() == "bearer" else None


def _clean(value: str) -> str:
    """Replace the bytes that aiohttp could not decode: as surrogates they break whoever encodes them again."""
    return value.encode(errors="replace").decode()


def _switching_protocols(key: bytes, subprotocol: str) -> bytes:
    answer = base64.b64encode(sha1(key + _MAGIC, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n" % (answer, subprotocol.encode())
    )


def _start(connection: Connection, accept: Accept, info: ConnectionInfo) -> None:
    """Give the connection its listener; a failure is this client's alone, and it is told."""
    try:
        connection.listen(accept(connection, info))
    except Exception:
        logger.exception("could not start a session for a new connection")
        connection.close(CloseCode.INTERNAL, "internal")


def _parser_has_stopped(request: web.Request) -> bool:
    return bool(request.protocol._upgraded)


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
