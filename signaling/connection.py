"""One WebSocket of one client: an `asyncio.Protocol` between the transport and a listener.

Decides when the socket is open, closing and gone, and answers what RFC 6455 wants answered (pings, the closing
handshake, a client that breaks the protocol). Refuses to know what a message says and what to do about a slow
reader: it says how much is unsent and when writing is paused, and the listener decides.

Everything is synchronous: a message goes from the read of the socket to the listener, and from `send` to the
transport, without a task, a queue or a future. There is no timer but while the connection closes.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from base.errors import CloseCode
from signaling import frames
from signaling.held_writes import HeldWrites

try:
    from aiohttp._websocket.helpers import websocket_mask
except ImportError:  # pragma: no cover  moved by some later aiohttp: slower, as correct
    websocket_mask = frames.unmask

logger = logging.getLogger(__name__)

# Compiled, in place: ten times faster than arithmetic on a session description.
unmask: Final[frames.Unmask] = websocket_mask
# After our close frame a client may still have sent this much before it saw it. A flood is not parsed to its end:
# a read of 256 kB can hold 40,000 empty frames.
MAX_LATE_FRAMES: Final = 1000
# Python knows its name only where it was built against new enough headers.
_NOTSENT_LOWAT: Final = {"linux": 25, "darwin": 0x201}
LISTENER_FAILED: Final = int(CloseCode.INTERNAL)


class ConnectionListener(Protocol):
    """What a connection tells its owner. Called from the event loop's callbacks: must not block."""

    def message_received(self, payload: bytes, binary: bool, /) -> None:
        """Take one complete message; text is valid UTF-8. Raising closes the connection with 4000."""

    def traffic_seen(self) -> None:
        """Take note of a ping or pong frame of the client: it lives, and it costs us something."""

    def writing_paused(self) -> None:
        """More than the high-water mark waits unsent: the client reads too slowly."""

    def writing_resumed(self) -> None:
        """What is unsent has fallen below the low-water mark."""

    def connection_closed(self, code: int, clean: bool, /) -> None:
        """Let go of the connection; called once, and nothing is called after it.

        `code` is that of the first close frame, theirs or ours: 1005 where theirs had none, 1006 where the
        socket was lost without one. `clean` says that both sides have sent theirs.
        """


@dataclass(slots=True)
class Census:
    """How many sockets are not gone yet, also those whose closing handshake is still under way."""

    open: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What all connections of a node share. Bytes, but for `close_timeout_s`."""

    max_message_bytes: int = 4 * 1024
    high_water_bytes: int = 64 * 1024
    low_water_bytes: int = 16 * 1024
    """Also how much the kernel takes of what it cannot send yet."""
    close_timeout_s: float = 5.0
    census: Census = field(default_factory=Census)
    held_writes: HeldWrites = field(default_factory=HeldWrites)


class Deaf:
    """The listener of a connection that has none yet or none any more."""

    def message_received(self, payload: bytes, binary: bool, /) -> None: ...

    def traffic_seen(self) -> None: ...

    def writing_paused(self) -> None: ...

    def writing_resumed(self) -> None: ...

    def connection_closed(self, code: int, clean: bool, /) -> None: ...


DEAF: Final = Deaf()


class _State(IntEnum):
    OPEN = 0
    CLOSING = 1  # our close frame is sent, theirs has not come
    LEAVING = 2  # nothing more is read or written, the transport is on its way out
    CLOSED = 3


class Connection(asyncio.Protocol):
    """A socket after its handshake. `binary` says which kind of frame `send` makes."""

    __slots__ = (
        "_close_code",
        "_encode",
        "_held",
        "_late_frames",
        "_listener",
        "_parser",
        "_settings",
        "_state",
        "_ticket",
        "_timer",
        "_transport",
        "_writer",
        "binary",
        "remote",
        "writing_is_paused",
    )

    def __init__(
        self, transport: asyncio.Transport, remote: str, binary: bool, settings: ConnectionSettings
    ) -> None:
        """Take over a transport whose handshake is answered; the caller makes this its protocol."""
        self.remote = remote
        self.binary = binary
        self._settings = settings
        self._encode = frames.encode_binary if binary else frames.encode_text
        self._parser = frames.FrameParser(settings.max_message_bytes, unmask)
        self._listener: ConnectionListener = DEAF
        self._transport: asyncio.Transport | None = transport
        self._writer: asyncio.Transport | None = transport  # the transport, as long as the connection is open
        self._state = _State.OPEN
        self._close_code = frames.ABNORMAL
        self._timer: asyncio.TimerHandle | None = None
        self._held = b""  # frames that wait for company, and go ahead of whatever is written next
        self._ticket = 0  # of what is held
        self.writing_is_paused = False
        """Whether the high-water mark was passed and the low-water mark not yet reached again."""
        self._late_frames = 0
        transport.set_write_buffer_limits(settings.high_water_bytes, settings.low_water_bytes)
        _keep_unsent_here(transport, settings.low_water_bytes)
        settings.census.open += 1

    # What the owner calls.

    def listen(self, listener: ConnectionListener) -> None:
        """Tell this listener from now on what comes."""
        self._listener = listener

    @property
    def is_open(self) -> bool:
        """Whether what is sent now can still reach the client."""
        return self._writer is not None

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet. On TLS up to 64 kB more may wait in the layer below."""
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def send(self, payload: bytes) -> None:
        """Send one message. On a connection that is no longer open it is dropped, silently."""
        writer = self._writer
        if writer is None:
            return
        if not self._held:
            writer.write(self._encode(payload))
        else:
            held, self._held = self._held, b""
            writer.write(held + self._encode(payload))

    def send_soon(self, payload: bytes) -> None:
        """Send one message with whatever is sent next, or alone in a moment; its place among all messages is kept."""
        if self._writer is None:
            return
        if not self._held:
            self._held = self._encode(payload)
            self._ticket = self._settings.held_writes.hold(self)
        else:
            self._held += self._encode(payload)

    def send_frame(self, frame: bytes) -> None:
        """Send a frame, or several in a row, that `frames.encode_...` made: encode once, send to many."""
        if (writer := self._writer) is not None:
            held, self._held = self._held, b""
            writer.write(held + frame)

    def send_many(self, payloads: Iterable[bytes]) -> None:
        """Send messages in one write."""
        self.send_frame(b"".join(map(self._encode, payloads)))

    def release(self, ticket: int) -> None:
        """Send what was held under this ticket, if it still is."""
        if ticket == self._ticket and self._held:
            self.send_frame(b"")

    def set_message_limit(self, max_bytes: int) -> None:
        """Change how large a message may be, from the next frame on."""
        self._parser.max_message_bytes = max_bytes

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; the listener gets no more messages. A second call does nothing.

        A client that does not answer within `close_timeout_s` is cut off.
        """
        if self._writer is not None:
            self._close_code = code
            self.send_frame(frames.encode_close(code, reason))
            self._stop_writing(_State.CLOSING)

    def abort(self) -> None:
        """Cut the client off without a close frame; what is unsent is lost."""
        if (transport := self._transport) is not None:
            self._writer = None
            self._state = _State.LEAVING
            transport.abort()

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        try:
            if self._writer is not None and (message := self._parser.whole(data)) is not None:
                self._listener.message_received(message, data[0] == frames.FIN_BINARY)
                return
            if self._state > _State.CLOSING:
                return
            for opcode, payload in self._parser.feed(data):
                if self._writer is None:  # closed on an earlier message, maybe of this very read
                    if self._state > _State.CLOSING:
                        return
                    self._take_late(opcode, payload)
                elif opcode > frames.BINARY:
                    self._take_control(opcode, payload)
                else:
                    self._listener.message_received(payload, opcode == frames.BINARY)
        except frames.FrameError as error:
            self._fail(error)
        except Exception:  # broad: see `_listener_failed`
            self._listener_failed()

    def pause_writing(self) -> None:
        self.writing_is_paused = True
        try:
            self._listener.writing_paused()
        except Exception:  # broad: see `_listener_failed`
            self._listener_failed()

    def resume_writing(self) -> None:
        self.writing_is_paused = False
        try:
            self._listener.writing_resumed()
        except Exception:  # broad: see `_listener_failed`
            self._listener_failed()

    def eof_received(self) -> None:
        """Take the client's end for the end of all: half a WebSocket is of no use. The transport closes itself."""
        if self._writer is not None:
            # A client that ended and does not read either would keep what is unsent for ever: hence the timer.
            self._stop_writing(_State.LEAVING)
            self._tell_closed(clean=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writer = self._transport = None
        self._state = _State.CLOSED
        self._settings.census.open -= 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_closed(clean=False)

    # How it goes on inside.

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.CLOSE:
            self._take_close(payload)
            return
        self._listener.traffic_seen()
        # A client that does not read gets no pongs: they would pile up without bound.
        if opcode == frames.PING and not self.writing_is_paused:
            self.send_frame(frames.encode_pong(payload))

    def _take_late(self, opcode: int, payload: bytes) -> None:
        """Wait for the answer to our close frame; what the client sent before it is of no use any more."""
        if opcode == frames.CLOSE:
            self._take_close(payload)
            return
        self._late_frames += 1
        if self._late_frames > MAX_LATE_FRAMES:
            raise frames.FrameError(frames.POLICY_VIOLATION, "the client goes on after our close frame")

    def _take_close(self, payload: bytes) -> None:
        transport = self._transport
        if self._writer is not None:
            self._close_code, _ = frames.read_close(payload)
            self.send_frame(frames.encode_close(self._close_code))
        self._stop_writing(_State.LEAVING)
        if transport is not None:
            transport.close()
        self._tell_closed(clean=True)

    def _fail(self, error: frames.FrameError) -> None:
        """End a connection whose bytes make no sense any more (RFC 6455, 7.1.7)."""
        transport = self._transport
        if self._writer is not None:
            self._close_code = error.close_code
            self.send_frame(frames.encode_close(error.close_code, error.reason))
        self._stop_writing(_State.LEAVING)
        if transport is not None:
            # Closing while the client still sends would reset the connection, and the reset overtakes our close
            # frame. So end our side only, and throw away what comes until the client ends its own.
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
        self._tell_closed(clean=False)

    def _listener_failed(self) -> None:
        """Whatever is wrong with a listener ends its own connection, and not the transport that called us."""
        logger.exception("the listener of a connection failed")
        self.close(LISTENER_FAILED, "internal")

    def _stop_writing(self, state: _State) -> None:
        self._writer = None
        self._state = state
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.close_timeout_s, self.abort)

    def _tell_closed(self, *, clean: bool) -> None:
        listener, self._listener = self._listener, DEAF
        try:
            listener.connection_closed(self._close_code, clean)
        except Exception:
            # Broad: whoever tells it has more to clear up.
            logger.exception("the listener of a connection failed when told of its end")


def _keep_unsent_here(transport: asyncio.Transport, bytes_: int) -> None:
    """Has the kernel take little more than it can send.

    Else megabytes of a client that reads nothing would lie there, for each such client, and nobody would know of it.
    """
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None) or _NOTSENT_LOWAT.get(sys.platform)
    if sock is None or option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):  # as before, only less exact
        sock.setsockopt(socket.IPPROTO_TCP, option, bytes_)
