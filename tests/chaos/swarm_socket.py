"""A WebSocket client's end that does little and costs little, so that thousands fit beside the servers they try.

Knows frames (RFC 6455) and nothing of what is in them. Frames are masked with zeros, which the standard's form allows and
which changes nothing in them; whole messages only, no extensions. A network that is lost is `abort`: no closing frame.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_SEND_MAX: Final = 1 << 20


class NotLetIn(Exception):
    """The handshake was answered by something else than 101."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Socket(asyncio.Protocol):
    """One connection. `on_message` gets payloads; `on_gone` the close code, None without a closing frame, once."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = False
        self._code: int | None = None
        self.on_message: Callable[[bytes], None] = lambda _payload: None
        self.on_gone: Callable[[int | None], None] = lambda _code: None

    @classmethod
    async def connect(cls, base_url: str, subprotocol: str, timeout_s: float) -> "Socket":
        """Opens a socket at a hub's address. Raises: NotLetIn, OSError, TimeoutError."""
        parts = urlsplit(base_url)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = (
            f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        ).encode()
        async with asyncio.timeout(timeout_s):
            _, socket = await asyncio.get_running_loop().create_connection(
                lambda: cls(request), parts.hostname or "127.0.0.1", parts.port or 80
            )
            try:
                await socket._upgraded
            except BaseException:
                socket.abort()
                raise
        if socket._gone:
            # Before anybody could be told: in one turn of the loop with the answer.
            raise ConnectionResetError("lost right after the handshake's answer")
        return socket

    @property
    def is_gone(self) -> bool:
        return self._gone

    def send(self, payload: bytes, *, binary: bool) -> None:
        """Writes a message; into nothing where the socket is gone, or reads so little that it must be."""
        self._write(_BINARY if binary else _TEXT, payload)

    def close(self, code: int) -> None:
        """Says goodbye, and does not wait for the answer."""
        self._write(_CLOSE, code.to_bytes(2, "big"))
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Loses the network."""
        if self._transport is not None:
            self._transport.abort()
        self._end(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded.done() and not self._take_answer():
            return
        while not self._gone and self._take_frame():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._code)

    # How it goes on inside.

    def _end(self, code: int | None) -> None:
        if self._gone:
            return
        self._gone = True
        if not self._upgraded.done():
            self._upgraded.set_exception(ConnectionResetError("lost before the handshake's answer"))
            # Whoever waited for it may have given up.
            self._upgraded.exception()
            return
        self.on_gone(code)

    def _take_answer(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        number = int(status.split(" ", 2)[1])
        if number == 101:
            self._upgraded.set_result(None)
            return True
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        retry_after_s = 0.0
        with contextlib.suppress(ValueError):
            retry_after_s = float(headers.get("retry-after", 0))
        self._upgraded.set_exception(NotLetIn(number, retry_after_s))
        return False

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start + size:
            return False
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        if opcode in (_TEXT, _BINARY):
            self.on_message(payload)
        elif opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            if self._transport is not None:
                self._write(_CLOSE, payload[:2])
                self._transport.close()
            self._end(self._code)
        return True

    def _write(self, opcode: int, payload: bytes) -> None:
        transport = self._transport
        if transport is None or self._gone or transport.is_closing():
            return
        if transport.get_write_buffer_size() > _SEND_MAX:
            self.abort()
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
        transport.write(head + b"\0\0\0\0" + payload)
