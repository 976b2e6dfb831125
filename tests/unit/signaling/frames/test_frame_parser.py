"""What the parser makes of a client's bytes: RFC 6455, case by case."""

import pytest

from signaling.frames import MAX_FRAGMENTS, FrameError, FrameParser, read_close
from tests.unit.signaling.frames.client_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    fragments,
    frame,
    header,
)

KIB = 1024


def parse(*chunks: bytes, limit: int = 64 * KIB) -> list[tuple[int, bytes]]:
    parser = FrameParser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def refusal(*chunks: bytes, limit: int = 64 * KIB) -> FrameError:
    with pytest.raises(FrameError) as caught:
        parse(*chunks, limit=limit)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 128, 235, 3000, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_whole_message_comes_out_at_once(opcode: int, size: int) -> None:
    """Every form of length, in one chunk, gives one event with the unmasked payload."""
    payload = bytes(number % 128 for number in range(size))

    assert parse(frame(opcode, payload), limit=70_000) == [(opcode, payload)]


@pytest.mark.parametrize("size", [0, 125, 126, 3000, 65_536])
def test_a_message_may_come_byte_by_byte(size: int) -> None:
    """However TCP cuts a frame, the message is the same."""
    payload = b"x" * size
    data = frame(TEXT, payload)

    assert parse(*(data[i : i + 1] for i in range(len(data))), limit=65_536) == [(TEXT, payload)]


@pytest.mark.parametrize("size", [0, 5, 125, 126, 3000, 65_536])
def test_a_second_frame_may_be_cut_anywhere(size: int) -> None:
    """Behind a whole frame, every place in the header of the next one, and its last byte."""
    first, second = frame(PING, b"first"), frame(BINARY, b"x" * size)
    for place in [*range(min(len(second), 15)), len(second) - 1]:
        assert parse(first + second[:place], second[place:], limit=65_536) == [
            (PING, b"first"),
            (BINARY, b"x" * size),
        ]


def test_a_payload_that_looks_like_a_frame_is_not_taken_for_one() -> None:
    """Cut where its payload begins, a message could smuggle frames past whoever inspects messages."""
    inner = frame(TEXT, b"smuggled")
    for opener in (
        frame(BINARY, inner, mask=bytes(4)),
        frame(BINARY, b"", fin=False) + frame(CONTINUATION, inner, mask=bytes(4)),
    ):
        place = len(opener) - len(inner)
        assert parse(opener[:place], opener[place:]) == [(BINARY, inner)]


def test_many_frames_in_one_chunk_come_out_in_order() -> None:
    """Pipelined frames, the last one cut, which comes with the next chunk."""
    data = frame(TEXT, b"one") + frame(PING, b"p") + frame(BINARY, b"\xff") + frame(TEXT, b"two")

    assert parse(data[:-1], data[-1:] + frame(TEXT, b"three")) == [
        (TEXT, b"one"),
        (PING, b"p"),
        (BINARY, b"\xff"),
        (TEXT, b"two"),
        (TEXT, b"three"),
    ]


def test_fragments_make_one_message() -> None:
    """Fragments are joined, empty ones included, and the kind is that of the first."""
    data = fragments(BINARY, b"a", b"", b"bc", b"") + fragments(TEXT, b"", b"d")

    assert parse(data) == [(BINARY, b"abc"), (TEXT, b"d")]


def test_control_frames_may_stand_between_fragments() -> None:
    """A ping inside a message is told before it, and the message is whole."""
    data = (
        frame(TEXT, b"hel", fin=False)
        + frame(PING, b"now")
        + frame(CONTINUATION, b"lo", fin=False)
        + frame(PONG)
        + frame(CONTINUATION, b"!")
    )

    assert parse(data) == [(PING, b"now"), (PONG, b""), (TEXT, b"hello!")]


def test_a_whole_frame_after_an_open_fragment_does_not_pass_for_a_message() -> None:
    """The shortcut for whole frames does not overlook that a message is open."""
    assert refusal(frame(TEXT, b"a", fin=False), frame(TEXT, b"b")).close_code == 1002


@pytest.mark.parametrize("text", ["ASCII", "zwölf", "日本語", "👋🏽", "\u0000", "\U0010ffff"])
def test_text_may_be_any_unicode(text: str) -> None:
    """Valid UTF-8 comes out as it went in, whole or with its characters cut by fragments."""
    payload = text.encode()

    assert parse(frame(TEXT, payload)) == [(TEXT, payload)]
    assert parse(fragments(TEXT, *(payload[i : i + 1] for i in range(len(payload))))) == [(TEXT, payload)]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff", id="a byte that never occurs"),
        pytest.param(b"\xc3", id="a character cut short"),
        pytest.param(b"abc\x80", id="a continuation byte alone"),
        pytest.param(b"\xc0\xaf", id="an overlong form"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond the last code point"),
    ],
)
def test_text_that_is_not_utf8_is_refused(payload: bytes) -> None:
    """1007, in one frame, and across fragments as well."""
    assert refusal(frame(TEXT, payload)).close_code == 1007
    assert refusal(fragments(TEXT, b"ok ", payload[:1], payload[1:])).close_code == 1007
    assert parse(frame(BINARY, payload)) == [(BINARY, payload)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(header(TEXT, 2, masked=False) + b"hi", "not masked", id="unmasked text"),
        pytest.param(
            header(TEXT, 6, masked=False) + b"hihihi", "not masked", id="unmasked, as long as a mask"
        ),
        pytest.param(b"\x81\x7f\x00\x00\x00", "not masked", id="unmasked, with a long form of length"),
        pytest.param(header(PING, 0, masked=False), "not masked", id="unmasked ping"),
        pytest.param(frame(TEXT, b"x", rsv=0b100), "reserved bits", id="RSV1, compression never agreed"),
        pytest.param(frame(BINARY, b"x", rsv=0b010), "reserved bits", id="RSV2"),
        pytest.param(frame(PING, b"x", rsv=0b001), "reserved bits", id="RSV3 on a control frame"),
        *(pytest.param(frame(code), "unknown opcode", id=f"opcode {code:#x}") for code in (3, 4, 5, 6, 7)),
        *(
            pytest.param(frame(code), "unknown opcode", id=f"opcode {code:#x}")
            for code in (11, 12, 13, 14, 15)
        ),
        pytest.param(frame(PING, b"x" * 126), "too long", id="ping of 126 bytes"),
        pytest.param(frame(CLOSE, close_payload(1000, b"x" * 124)), "too long", id="close of 126 bytes"),
        pytest.param(frame(PONG, b"x" * 70_000), "too long", id="pong of 70,000 bytes"),
        pytest.param(header(PING, 5, form=16), "too long", id="control frame with a long form of length"),
        pytest.param(frame(PING, fin=False), "fragmented", id="ping in fragments"),
        pytest.param(frame(CLOSE, fin=False), "fragmented", id="close in fragments"),
        pytest.param(frame(CONTINUATION, b"x"), "nothing to continue", id="continuation of nothing"),
        pytest.param(frame(TEXT, b"a") + frame(CONTINUATION, b"b"), "nothing to continue", id="one too many"),
        pytest.param(
            fragments(TEXT, b"a", b"b")[:7] + frame(BINARY, b"c"), "inside another", id="two at once"
        ),
        pytest.param(header(TEXT, 5, form=16) + b"mask" + b"12345", "length", id="16 bits for 5"),
        pytest.param(header(TEXT, 125, form=16) + bytes(129), "length", id="16 bits for 125"),
        pytest.param(header(TEXT, 100, form=16) + bytes(93), "length", id="16 bits for what would fit 7"),
        pytest.param(header(TEXT, 65_535, form=64), "length", id="64 bits for 65,535"),
        pytest.param(frame(CLOSE, b"\x03"), "cut short", id="close with one byte"),
        *(
            pytest.param(frame(CLOSE, close_payload(code)), "not allowed", id=f"close {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
        ),
    ],
)
def test_a_breach_of_the_protocol_is_refused(data: bytes, reason: str) -> None:
    """1002 with the reason, in one chunk and byte by byte alike."""
    whole = refusal(data)
    dripped = refusal(*(data[i : i + 1] for i in range(len(data))))

    assert (whole.close_code, dripped.close_code) == (1002, 1002)
    assert reason in whole.reason
    assert dripped.reason == whole.reason


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4001, 4999]
)
def test_a_close_frame_gives_code_and_reason(code: int) -> None:
    """Every code that may be sent is read, with its reason."""
    [(opcode, payload)] = parse(frame(CLOSE, close_payload(code, "grüß dich".encode())))

    assert opcode == CLOSE
    assert read_close(payload) == (code, "grüß dich")


def test_a_close_frame_may_be_empty() -> None:
    """1005 stands for no code; it is never on the wire."""
    assert parse(frame(CLOSE)) == [(CLOSE, b"")]
    assert read_close(b"") == (1005, "")


def test_a_close_reason_must_be_utf8() -> None:
    """1007, as for any other text."""
    assert refusal(frame(CLOSE, close_payload(1000, b"\xff"))).close_code == 1007


def test_nothing_counts_after_a_close_frame() -> None:
    """What follows in the same chunk is not even judged."""
    data = frame(CLOSE) + frame(TEXT, b"late") + b"\xff\xff\xff"

    assert parse(data) == [(CLOSE, b"")]


def test_messages_before_a_breach_still_count() -> None:
    """The error comes when its frame is reached, not before."""
    events = iter(FrameParser(KIB).feed(frame(TEXT, b"good") + frame(TEXT, b"bad", rsv=4)))

    assert next(events) == (TEXT, b"good")
    with pytest.raises(FrameError):
        next(events)


def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    """1009 for one byte more, in one frame or in fragments."""
    assert len(parse(frame(BINARY, bytes(4096)), limit=4096)) == 1
    assert len(parse(fragments(BINARY, bytes(4000), bytes(96)), limit=4096)) == 1
    assert refusal(frame(BINARY, bytes(4097)), limit=4096).close_code == 1009
    assert refusal(fragments(BINARY, bytes(4000), bytes(97)), limit=4096).close_code == 1009


@pytest.mark.parametrize("length", [4097, 65_535, 65_536, 2**31, 2**32, 2**62, 2**63 - 1])
def test_a_hostile_length_is_refused_from_its_header(length: int) -> None:
    """Nothing of the payload needs to come, so nothing is buffered."""
    assert refusal(header(BINARY, length), limit=4096).close_code == 1009


@pytest.mark.parametrize("top", [126, 200, 4000])
def test_the_top_of_a_long_length_is_not_taken_for_a_short_one(top: int) -> None:
    """A frame of exactly the size that the first two of eight length bytes would mean."""
    head = header(BINARY, top << 48)

    assert refusal(head + bytes(8 + top - len(head))).close_code == 1009


@pytest.mark.parametrize("length", [2**63, 2**64 - 1])
def test_a_length_with_the_highest_bit_is_no_length(length: int) -> None:
    """RFC 6455, 5.2: the most significant bit must be 0."""
    assert refusal(header(BINARY, length)).close_code == 1002


def test_fragments_cannot_be_endless() -> None:
    """Empty fragments cost no bytes, but work without end: 1008."""
    endless = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * MAX_FRAGMENTS

    assert refusal(endless).close_code == 1008
    assert refusal(fragments(TEXT, *[b"x"] * (MAX_FRAGMENTS + 1))).close_code == 1008
    assert MAX_FRAGMENTS == 1024


def test_fragments_are_counted_for_each_message_anew() -> None:
    """A client that fragments everything as far as it may is not refused after a while."""
    data = fragments(TEXT, *[b"x"] * MAX_FRAGMENTS)

    assert parse(data, data, data) == [(TEXT, b"x" * MAX_FRAGMENTS)] * 3


def test_the_limit_may_change_between_two_messages_of_one_chunk() -> None:
    """A message decides on the limit for the next, also where both came together."""
    parser = FrameParser(10)
    sizes = []
    for _, payload in parser.feed(frame(TEXT, b"x" * 10) + frame(TEXT, b"y" * 300)):
        sizes.append(len(payload))
        parser.max_message_bytes = 300

    assert sizes == [10, 300]


def test_a_lower_limit_holds_for_whole_frames_too() -> None:
    """The shortcut looks at the limit of now."""
    parser = FrameParser(300)
    assert list(parser.feed(frame(TEXT, b"y" * 300))) == [(TEXT, b"y" * 300)]
    parser.max_message_bytes = 299

    with pytest.raises(FrameError):
        list(parser.feed(frame(TEXT, b"y" * 300)))


def test_nothing_comes_of_nothing() -> None:
    """An empty chunk is no frame."""
    assert parse(b"", b"") == []
