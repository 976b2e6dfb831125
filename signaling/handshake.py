"""What a WebSocket handshake has to look like (RFC 6455, 4.2), and what is answered to one that does not.

Decides by the head of the request alone, which aiohttp has parsed: which handshakes are refused, with which HTTP status, and
which subprotocol is spoken. Refuses to know sockets, counts and clocks, and who the client is: that is in its first message.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final, Literal

import orjson
from aiohttp import HttpVersion, HttpVersion11, hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from base.errors import ERROR_SPECS, ErrorCode
from signaling.connection import ConnectionSettings

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
class Head:
    """A parsed request, as far as it matters here."""

    method: str
    version: HttpVersion
    headers: CIMultiDict[str] | CIMultiDictProxy[str]
    has_body: bool
    is_upgrade: bool
    """Whether the parser has seen the upgrade as well; else it would have read frames as requests."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """One that is in order."""

    key: bytes
    subprotocol: str
    origin: str | None
    """The page's; None from a client that is no browser."""
    user_agent: str
    bearer_token: str | None = field(default=None, repr=False)

    def answer(self) -> bytes:
        """The 101."""
        accept = base64.b64encode(sha1(self.key + _MAGIC, usedforsecurity=False).digest())
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n"
            % (accept, self.subprotocol.encode())
        )


class Refused(Exception):
    """A handshake that is answered with an HTTP error."""

    def __init__(self, code: ErrorCode, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return ERROR_SPECS[self.code].status

    @property
    def body(self) -> bytes:
        error = {"code": self.code, "message": self.message, "details": None, "request_id": None}
        return orjson.dumps({"success": False, "error": error})


def checked(head: Head, settings: UpgradeSettings) -> Handshake:
    """The handshake in a request. Raises: Refused."""
    key = _check_headers(head)
    origin = _check_origin(head, settings)
    return Handshake(
        key=key,
        subprotocol=_choose_subprotocol(head),
        origin=None if origin is None else _clean(origin),
        user_agent=_clean(head.headers.get(hdrs.USER_AGENT, ""))[:_MAX_USER_AGENT],
        bearer_token=_bearer_token(head),
    )


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


def _check_headers(head: Head) -> bytes:
    """Return the client's key (RFC 6455, 4.2.1)."""
    headers = head.headers
    if (
        head.method != hdrs.METH_GET
        or "websocket" not in _tokens(head, hdrs.UPGRADE)
        or "upgrade" not in _tokens(head, hdrs.CONNECTION)
    ):
        raise Refused(ErrorCode.INVALID_MESSAGE, "this address speaks WebSocket only")
    if head.version != HttpVersion11 or head.has_body or not head.is_upgrade:
        raise Refused(ErrorCode.INVALID_MESSAGE, "the handshake must be HTTP/1.1 without a body")
    if headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != ["13"]:
        raise Refused(
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
        raise Refused(ErrorCode.INVALID_MESSAGE, "Sec-WebSocket-Key must be 16 bytes in base64")
    return keys[0].encode("ascii")


def _check_origin(head: Head, settings: UpgradeSettings) -> str | None:
    """Return the page's origin; None from a client that is no browser."""
    origins = head.headers.getall(hdrs.ORIGIN, [])
    if not origins:
        return None
    if len(origins) > 1 or not settings.allows(origins[0]):
        raise Refused(ErrorCode.FORBIDDEN, "pages of this origin may not connect")
    return origins[0]


def _choose_subprotocol(head: Head) -> str:
    """Return the first subprotocol of the client's list that is spoken here."""
    for offered in _tokens(head, hdrs.SEC_WEBSOCKET_PROTOCOL, fold_case=False):
        if offered in SUBPROTOCOLS:
            return offered
    raise Refused(ErrorCode.INVALID_MESSAGE, f"offer one of the subprotocols {', '.join(SUBPROTOCOLS)}")


def _tokens(head: Head, name: str, *, fold_case: bool = True) -> list[str]:
    joined = ",".join(head.headers.getall(name, []))
    return [token.strip() for token in (joined.lower() if fold_case else joined).split(",")]


def _bearer_token(head: Head) -> str | None:
    scheme, _, token = head.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return _clean(token.strip()) or None if scheme.lower() == "bearer" else None


def _clean(value: str) -> str:
    """Replace the bytes that aiohttp could not decode: as surrogates they break whoever encodes them again."""
    return value.encode(errors="replace").decode()
