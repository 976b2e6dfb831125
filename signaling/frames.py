"""WebSocket frames, the server's side of RFC 6455, without extensions.

Decides where a message begins and ends, whether a client keeps to the protocol, and when it asks for more
memory than it may have: a length is judged from the frame's first bytes, before anything is buffered.
Knows nothing of sockets, of time and of what a message says.

Theory of operation. Nearly every read of a hub is exactly one small frame, so `FrameParser.whole` takes that case out
first. `FrameParser.feed` takes all else (several frames, fragments, halves) and returns the complete messages and
control frames in it, in order, through a generator which judges each frame only when the caller asks for it: what the
caller decided on the message before, such as a new size limit, already holds. The first `FrameError` is final; a
parser that raised is not fed again.
"""

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
FIN_TEXT: Final = FIN | TEXT
FIN_BINARY: Final = FIN | BINARY
MASKED: Final = 0x80
RESERVED_BITS: Final = 0x70
MAX_CONTROL_BYTES: Final = 125
# A message of 64 kB in fragments of 64 bytes; more than this is a client that makes us work for nothing.
MAX_FRAGMENTS: Final = 1024

PROTOCOL_ERROR: Final = 1002
NO_CODE: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009

# TEXT or BINARY with a whole message; PING, PONG or CLOSE with the frame's payload (for CLOSE see `read_close`).
Event = tuple[int, bytes]
# Takes the four mask bytes and XORs the data with them, in place.
Unmask = Callable[[bytes, bytearray], None]

_U16: Final = Struct("!H")
_U64: Final = Struct("!Q")
_HEADER_16: Final = Struct("!BBH").pack
_HEADER_64: Final = Struct("!BBQ").pack
_SHORT_TEXT: Final = tuple(bytes((FIN_TEXT, length)) for length in range(126))
_SHORT_BINARY: Final = tuple(bytes((FIN_BINARY, length)) for length in range(126))


class FrameError(Exception):
    """The client broke the protocol; the connection ends with this close code."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(close_code, reason)
        self.close_code = close_code
        self.reason = reason


def unmask(mask: bytes, data: bytearray) -> None:
    """XOR data with the repeated mask, in place (RFC 6455, 5.3).

    One operation on long integers: the fastest way without compiled help. A shell that has a compiled routine
    hands it to the parser.
    """
    size = len(data)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    data[:] = (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")


class FrameParser:
    """Finds messages and control frames in the bytes of one client.

    `max_message_bytes` may be set at any time; it holds from the next frame judged.
    """

    __slots__ = ("_fragments", "_message", "_needed", "_opcode", "_pending", "_unmask", "max_message_bytes")

    def __init__(self, max_message_bytes: int, unmask: Unmask = unmask) -> None:
        self.max_message_bytes = max_message_bytes
        self._unmask = unmask
        self._pending: bytearray | None = None  # the beginning of a frame whose rest has not come
        self._needed = 0  # how many bytes `_pending` must have before it is worth another look
        self._message: bytearray | None = None  # the fragments so far of an unfinished message
        self._opcode = 0
        self._fragments = 0

    def whole(self, data: bytes) -> bytes | None:
        """Return the message, if this read is exactly one whole message in one frame, whose kind `data[0]` tells.

        Whatever else it is, nothing has happened, and `feed` takes it. Raises: FrameError for text that is not UTF-8.
        """
        size = len(data)
        if size < 6 or self._pending is not None or self._message is not None:
            return None
        first = data[0]
        if first != FIN_TEXT and first != FIN_BINARY:
            return None
        # The mask bit is subtracted: an unmasked frame gets a negative length, which fits no size.
        length = data[1] - MASKED
        start = 6
        if length > 125:
            start = 8
            length = data[2] << 8 | data[3] if length == 126 else 0
            if length < 126:
                return None
        if size != start + length or length > self.max_message_bytes:
            return None
        masked = bytearray(data)
        del masked[:start]
        self._unmask(data[start - 4 : start], masked)
        payload = bytes(masked)
        if first == FIN_TEXT and not payload.isascii():
            _check_utf8(payload)
        return payload

    def feed(self, data: bytes) -> Iterable[Event]:
        """Return what is complete, in order. Iterate it to the end, or feed no more.

        Raises: FrameError, here or while iterating, at the first byte that shows the breach.
        """
        payload = self.whole(data)
        return self._walk(data) if payload is None else ((data[0] & 0x0F, payload),)

    def _walk(self, chunk: bytes) -> Iterator[Event]:
        """Walk over all frames, complete or not, of what is pending and this chunk."""
        data: bytes | bytearray = chunk
        if self._pending is not None:
            self._pending += chunk
            if len(self._pending) < self._needed:
                return
            data, self._pending = self._pending, None
        position = 0
        size = len(data)
        while position < size:
            start, end = self._measure(data, position, size)
            if end > size:
                self._pending = bytearray(data[position:])
                self._needed = end - position
                return
            masked = bytearray(data[start:end])
            self._unmask(bytes(data[start - 4 : start]), masked)
            event = self._accept(data[position], masked)
            position = end
            if event is not None:
                yield event
                if event[0] == CLOSE:
                    return  # RFC 6455, 5.5.1: nothing counts after a close frame

    def _measure(self, data: bytes | bytearray, position: int, size: int) -> tuple[int, int]:
        """Judge as much of a frame's header as is there; return where its payload begins and ends.

        An end beyond `size` says how far the data must reach before it is worth another look.
        """
        first = data[position]
        self._judge_first_byte(first)
        if size - position < 2:
            return 0, position + 2
        length = data[position + 1] - MASKED
        if length < 0:
            raise FrameError(PROTOCOL_ERROR, "frame is not masked")
        start = position + 6
        if length > MAX_CONTROL_BYTES:
            if first & 0x08:
                raise FrameError(PROTOCOL_ERROR, "control frame is too long")
            wide = length == 127
            start = position + (14 if wide else 8)
            if size < start - 4:
                return 0, start - 4
            (length,) = (_U64 if wide else _U16).unpack_from(data, position + 2)
            if length < (0x10000 if wide else 126) or length >> 63:
                raise FrameError(PROTOCOL_ERROR, "length is not encoded as it must be")
        if not first & 0x08:
            so_far = 0 if self._message is None else len(self._message)
            if so_far + length > self.max_message_bytes:
                raise FrameError(TOO_BIG, f"message is over {self.max_message_bytes} bytes")
        return start, start + length

    def _judge_first_byte(self, first: int) -> None:
        """Refuse extensions, unknown opcodes, and fragments that fit no message."""
        if first & RESERVED_BITS:
            raise FrameError(PROTOCOL_ERROR, "reserved bits are set")
        opcode = first & 0x0F
        if opcode & 0x08:
            if opcode > PONG:
                raise FrameError(PROTOCOL_ERROR, "unknown opcode")
            if not first & FIN:
                raise FrameError(PROTOCOL_ERROR, "control frame is fragmented")
        elif opcode > BINARY:
            raise FrameError(PROTOCOL_ERROR, "unknown opcode")
        elif opcode == CONTINUATION:
            if self._message is None:
                raise FrameError(PROTOCOL_ERROR, "nothing to continue")
        elif self._message is not None:
            raise FrameError(PROTOCOL_ERROR, "message begins inside another")

    def _accept(self, first: int, payload: bytearray) -> Event | None:
        """Take one frame whose header is judged; return what it completes."""
        opcode = first & 0x0F
        if opcode & 0x08:
            if opcode == CLOSE:
                read_close(payload)
            return opcode, bytes(payload)
        if self._message is None:
            self._opcode = opcode
            self._message = payload
        else:
            self._message += payload
        if not first & FIN:
            # Fragments may be empty: their number must be bounded, not only their size.
            self._fragments += 1
            if self._fragments >= MAX_FRAGMENTS:
                raise FrameError(POLICY_VIOLATION, "message has too many fragments")
            return None
        message = bytes(self._message)
        self._message = None
        self._fragments = 0
        if self._opcode == TEXT and not message.isascii():
            _check_utf8(message)
        return self._opcode, message


def read_close(payload: bytes | bytearray) -> tuple[int, str]:
    """Return code and reason of a close frame; 1005 where it has none.

    Raises: FrameError for a code that may not be sent (RFC 6455, 7.4) or a reason that is not UTF-8.
    """
    if not payload:
        return NO_CODE, ""
    if len(payload) == 1:
        raise FrameError(PROTOCOL_ERROR, "close code is cut short")
    (code,) = _U16.unpack_from(payload)
    if not (3000 <= code < 5000 or 1000 <= code <= 1003 or 1007 <= code <= 1014):
        raise FrameError(PROTOCOL_ERROR, "close code is not allowed")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_DATA, "close reason is not UTF-8") from error


def encode_text(payload: bytes) -> bytes:
    """Return one text frame; the payload must be UTF-8."""
    size = len(payload)
    if size < 126:
        return _SHORT_TEXT[size] + payload
    if size < 0x10000:
        return _HEADER_16(FIN_TEXT, 126, size) + payload
    return _HEADER_64(FIN_TEXT, 127, size) + payload


def encode_binary(payload: bytes) -> bytes:
    """Return one binary frame."""
    size = len(payload)
    if size < 126:
        return _SHORT_BINARY[size] + payload
    if size < 0x10000:
        return _HEADER_16(FIN_BINARY, 126, size) + payload
    return _HEADER_64(FIN_BINARY, 127, size) + payload


def encode_pong(payload: bytes = b"") -> bytes:
    """Return a pong frame. Raises: ValueError above 125 bytes."""
    return _encode_control(PONG, payload)


def encode_close(code: int = NO_CODE, reason: str = "") -> bytes:
    """Return a close frame, without a code for 1005; a long reason is cut between characters."""
    if code == NO_CODE:
        return _encode_control(CLOSE, b"")
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return _encode_control(CLOSE, _U16.pack(code) + text)


def _encode_control(opcode: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CONTROL_BYTES:
        raise ValueError("a control frame carries at most 125 bytes")
    return bytes((FIN | opcode, len(payload))) + payload


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_DATA, "text is not UTF-8") from error
