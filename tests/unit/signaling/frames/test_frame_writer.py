"""What we put on the wire, read by the frame reader of the `websockets` library."""

from collections.abc import Callable

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from signaling.frames import encode_binary, encode_close, encode_pong, encode_text


def read(data: bytes) -> Frame:
    """The one frame in the data, unmasked as a server must send it."""
    stream = StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    parsing = Frame.parse(stream.read_exact, mask=False, max_size=None, extensions=[])
    try:
        while True:
            next(parsing)
    except StopIteration as done:
        assert stream.buffer == b""
        frame = done.value
        assert isinstance(frame, Frame)
        return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 3000, 65_535, 65_536, 200_000])
@pytest.mark.parametrize(("encode", "opcode"), [(encode_text, Opcode.TEXT), (encode_binary, Opcode.BINARY)])
def test_a_message_is_one_frame(encode: Callable[[bytes], bytes], opcode: Opcode, size: int) -> None:
    """Whole, final, unmasked, with the length in its shortest form."""
    payload = b"x" * size
    header = 2 if size < 126 else 4 if size < 65_536 else 10

    assert read(encode(payload)) == Frame(opcode, payload)
    assert len(encode(payload)) == header + size


def test_pongs_carry_up_to_125_bytes() -> None:
    """And more is an error of the caller."""
    assert read(encode_pong(b"")) == Frame(Opcode.PONG, b"")
    assert read(encode_pong(b"x" * 125)) == Frame(Opcode.PONG, b"x" * 125)
    with pytest.raises(ValueError, match="125"):
        encode_pong(b"x" * 126)


def test_a_close_frame_says_why() -> None:
    """Code and reason, or neither for 1005, which stands for none."""
    assert Close.parse(read(encode_close(4003, "too slow")).data) == Close(4003, "too slow")
    assert read(encode_close(1005)).data == b""
    assert read(encode_close()).data == b""


@pytest.mark.parametrize("reason", ["x" * 500, "ö" * 100, "x" + "ö" * 100, "👋" * 60])
def test_a_long_close_reason_is_cut_between_characters(reason: str) -> None:
    """A control frame has room for 123 bytes of reason; what remains is valid UTF-8."""
    close = Close.parse(read(encode_close(4000, reason)).data)

    assert reason.startswith(close.reason)
    assert 123 - len(reason[len(close.reason)].encode()) < len(close.reason.encode()) <= 123
