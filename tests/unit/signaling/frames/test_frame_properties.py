"""Whatever a client sends, and however the network cuts it."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from aiohttp._websocket.helpers import websocket_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from signaling.frames import CLOSE, FrameError, FrameParser, unmask
from tests.unit.signaling.frames.client_frames import BINARY, CONTINUATION, PING, PONG, TEXT, frame

LIMIT = 2000
Event = tuple[int, bytes]
Outcome = tuple[list[Event], int | None]


def outcome(chunks: Iterable[bytes], limit: int = LIMIT) -> Outcome:
    """All events, and the close code of the error that ended them, if one did."""
    parser = FrameParser(limit)
    events: list[Event] = []
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                events.append(event)
                if event[0] == CLOSE:
                    return events, None
    except FrameError as error:
        return events, error.close_code
    return events, None


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces; places count round and round, so that they are spread over short data as well."""
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)] if data else [0, 0]
    return [data[start:end] for start, end in pairwise(edges)]


texts = st.text(max_size=40).map(str.encode) | st.text(max_size=3).map(lambda text: text.encode() * 60)
messages = st.tuples(st.just(TEXT), texts) | st.tuples(st.just(BINARY), st.binary(max_size=300))
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
masks = st.binary(min_size=4, max_size=4)
places = st.lists(st.integers(0, 100_000), max_size=30)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a correct client may send: the bytes, and the events they stand for."""
    data = b""
    events: list[Event] = []
    for opcode, payload in draw(st.lists(messages, max_size=6)):
        parts = cut(payload, draw(st.lists(st.integers(0, 300), max_size=4)))
        parts = [
            part for piece in parts for part in draw(st.sampled_from([[piece], [piece, b""], [b"", piece]]))
        ]
        for number, part in enumerate(parts):
            for control in draw(st.lists(controls, max_size=1)):
                data += frame(*control, mask=draw(masks))
                events.append(control)
            fin = number == len(parts) - 1
            data += frame(opcode if number == 0 else CONTINUATION, part, fin=fin, mask=draw(masks))
        events.append((opcode, payload))
    return data, events


@given(conversations(), places)
def test_any_conversation_is_understood_however_it_is_cut(
    said: tuple[bytes, list[Event]], where: list[int]
) -> None:
    """Messages in fragments, control frames among them, in arbitrary pieces: the same events in the same order."""
    data, events = said

    assert outcome(cut(data, where)) == (events, None)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A correct conversation with some bytes changed, dropped or put in; or just noise."""
    data = bytearray(draw(conversations())[0])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


hostile = st.binary(max_size=200) | mutated()


@settings(max_examples=400)
@given(hostile, places)
def test_cutting_changes_nothing_of_a_hostile_stream(data: bytes, where: list[int]) -> None:
    """In one piece, cut anywhere, or byte by byte: the same events and the same refusal, and no other exception."""
    whole = outcome([data])

    assert outcome(cut(data, where)) == whole
    assert outcome(data[i : i + 1] for i in range(len(data))) == whole
    assert whole[1] in {None, 1002, 1007, 1008, 1009}


@settings(max_examples=400)
@given(hostile)
def test_what_is_accepted_means_the_same_to_another_implementation(data: bytes) -> None:
    """Where we refuse nothing, `websockets` reads the same messages and refuses nothing either."""
    events, refused = outcome([data])
    if refused is not None:
        return
    other = ServerProtocol(state=State.OPEN, max_size=LIMIT)
    other.receive_data(data)
    assert other.parser_exc is None
    theirs: list[Event] = []
    begun = (0, b"")
    for received in other.events_received():
        assert isinstance(received, Frame)
        event = (int(received.opcode), bytes(received.data))
        if received.opcode == CONTINUATION:
            event = (begun[0], begun[1] + event[1])
        if received.fin:
            theirs.append(event)
        else:
            begun = event

    assert theirs == events


@given(st.binary(max_size=200), masks)
def test_unmasking_in_python_is_what_the_compiled_routine_does(data: bytes, mask: bytes) -> None:
    """The fallback gives the same bytes, for every length."""
    ours, theirs = bytearray(data), bytearray(data)
    unmask(mask, ours)
    websocket_mask(mask, theirs)

    assert ours == theirs


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_client_cannot_make_the_parser_hold_more_than_the_limit(chunk: int) -> None:
    """Half frames are held up to the limit and their header, however slowly they come."""
    parser = FrameParser(LIMIT)
    data = frame(TEXT, b"x" * (LIMIT // 2), fin=False) + frame(CONTINUATION, b"x" * (LIMIT // 2))
    most = 0
    for start in range(0, len(data) - 1, chunk):
        assert list(parser.feed(data[start : min(start + chunk, len(data) - 1)])) == []
        most = max(most, len(parser._pending or b"") + len(parser._message or b""))

    assert most <= LIMIT + 14
