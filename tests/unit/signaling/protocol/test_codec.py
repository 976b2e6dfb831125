"""One schema, two encodings: what goes in comes out, and what makes no sense is refused by name."""

from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ErrorCode
from signaling.protocol.codec import (
    JSON,
    MSGPACK,
    Codec,
    InvalidMessage,
    JsonCodec,
    MsgpackCodec,
    Request,
    parse_request,
)
from signaling.protocol.messages.call import CallCandidates
from signaling.protocol.schema import CLIENT_MESSAGES

CALL = "01890000-0000-7000-8000-000000000000"

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=50)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


def decode(codec: Codec, payload: bytes) -> Any:
    return codec.decode(payload)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
@given(data=st.dictionaries(st.text(max_size=10), plain, max_size=5), request_id=st.integers(0, 2**53 - 1))
def test_an_envelope_holds_what_was_put_into_it(codec: Codec, data: dict[str, Any], request_id: int) -> None:
    """Bodies are spliced into envelopes as bytes; the whole decodes to type, id, seq and data."""
    payload = codec.envelope("call.state", codec.encode(data), request_id, 7)

    assert decode(codec, payload) == {"type": "call.state", "id": request_id, "seq": 7, "data": data}


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
def test_an_envelope_leaves_out_what_it_does_not_have(codec: Codec) -> None:
    """No null fields: absent means absent."""
    assert decode(codec, codec.envelope("ping", None, None, None)) == {"type": "ping"}


@given(
    sdp=st.text(min_size=1, max_size=2000).filter(lambda text: text.isprintable()),
    number=st.integers(0, 2**31 - 1),
    request_id=st.integers(0, 2**53 - 1),
)
def test_both_encodings_give_the_same_message(sdp: str, number: int, request_id: int) -> None:
    """The same request in JSON and MessagePack is the same value after decoding."""
    raw = {
        "type": "call.offer",
        "id": request_id,
        "data": {"call_id": CALL, "negotiation": number, "sdp": sdp},
    }

    by_json = JSON.read(orjson.dumps(raw))
    by_msgpack = MSGPACK.read(msgpack.packb(raw))

    assert by_json == by_msgpack
    assert by_json.id == request_id
    assert msgspec.to_builtins(by_json.message) == raw["data"]


EXAMPLES = 400
relayed = st.fixed_dictionaries(
    {"type": st.sampled_from(["call.offer", "call.answer", "call.candidates"])},
    optional={
        "id": st.integers(-1, 2**60) | st.none() | st.floats(0, 9) | st.text(max_size=2),
        "ack": st.integers(-1, 2**60) | st.none() | st.booleans(),
        "more": plain,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "call_id": st.just(CALL) | st.text(max_size=40),
                "negotiation": st.integers(-1, 2**32) | st.floats(0, 9),
                "of": st.sampled_from(["self", "peer", "both"]),
                "sdp": st.text(max_size=30),
                "complete": st.booleans() | st.none(),
                "candidates": st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "candidate": st.text(max_size=20),
                            "mid": st.text(max_size=2) | st.none(),
                            "ufrag": st.text(max_size=4) | st.integers(0, 9),
                            "more": plain,
                        },
                    ),
                    max_size=3,
                ),
                "more": plain,
            },
        )
        | plain,
    },
)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
@settings(max_examples=EXAMPLES)
@given(raw=relayed, cut=st.none() | st.tuples(st.integers(0, 400), st.binary(max_size=3)))
def test_what_is_relayed_is_read_in_one_step_as_in_two(
    codec: Codec, raw: dict[str, Any], cut: tuple[int, bytes] | None
) -> None:
    """The short way accepts nothing that the long way would not, and makes the same of it."""
    payload = orjson.dumps(raw) if codec is JSON else msgpack.packb(raw)
    if cut is not None:
        at, put = cut[0] % (len(payload) + 1), cut[1]
        payload = payload[:at] + put + payload[at + len(put) :]

    assert outcome(codec.read, payload) == outcome(lambda data: parse_request(codec.decode(data)), payload)


def test_what_is_relayed_really_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test before would compare the long way with itself."""
    monkeypatch.setattr(JsonCodec, "decode", None)
    monkeypatch.setattr(MsgpackCodec, "decode", None)
    for type_, data in (
        ("call.offer", {"sdp": "v=0"}),
        ("call.answer", {"of": "peer", "sdp": "v=0"}),
        ("call.candidates", {"of": "self", "candidates": [{"candidate": "x", "mid": "0"}]}),
    ):
        raw = {"type": type_, "id": 1, "ack": 0, "data": {"call_id": CALL, "negotiation": 1, **data}}

        assert plainly(JSON.read(orjson.dumps(raw))) == plainly(MSGPACK.read(msgpack.packb(raw)))


def outcome(read: Callable[[bytes], Request], payload: bytes) -> object:
    """The request, or the error that a client would be told."""
    try:
        return plainly(read(payload))
    except InvalidMessage as error:
        return error.code, error.message, error.request_id


def plainly(request: Request) -> object:
    """A request in plain values: what is relayed is read into classes that only look the same."""
    return (
        request.message.TYPE,
        msgspec.to_builtins(request.message),
        request.id,
        request.ack,
        request.unknown_fields,
    )


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
@given(payload=st.binary(max_size=300))
def test_no_bytes_raise_anything_but_the_codecs_own_error(codec: Codec, payload: bytes) -> None:
    """Whatever a client sends is a request or an InvalidMessage."""
    try:
        codec.read(payload)
    except InvalidMessage as error:
        assert error.code in (ErrorCode.INVALID_MESSAGE, ErrorCode.UNKNOWN_TYPE)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
@given(
    raw=st.dictionaries(
        st.sampled_from(["type", "id", "ack", "data"]) | st.text(max_size=5), plain, max_size=6
    )
)
def test_no_object_raises_anything_but_the_codecs_own_error(codec: Codec, raw: dict[str, Any]) -> None:
    """Nor does any object of plain values, whatever types it names."""
    for type_ in (raw.get("type"), *CLIENT_MESSAGES):
        try:
            codec.read(codec.encode({"type": type_, **{k: v for k, v in raw.items() if k != "type"}}))
        except InvalidMessage as error:
            assert error.code in (ErrorCode.INVALID_MESSAGE, ErrorCode.UNKNOWN_TYPE)


@pytest.mark.parametrize(
    ("raw", "code", "says"),
    [
        ([], "invalid_message", "object"),
        ({}, "invalid_message", "`type`"),
        ({"type": 3}, "invalid_message", "`type`"),
        ({"type": "call.fly", "id": 1}, "unknown_type", "call.fly"),
        ({"type": "call.accept", "data": {"call_id": CALL}}, "invalid_message", "`id`"),
        ({"type": "call.accept", "id": "1", "data": {"call_id": CALL}}, "invalid_message", "`id`"),
        ({"type": "call.accept", "id": True, "data": {"call_id": CALL}}, "invalid_message", "`id`"),
        ({"type": "call.accept", "id": -1, "data": {"call_id": CALL}}, "invalid_message", "`id`"),
        ({"type": "ack", "ack": 2**60}, "invalid_message", "`ack`"),
        ({"type": "call.accept", "id": 1}, "invalid_message", "call_id"),
        ({"type": "call.accept", "id": 1, "data": [1]}, "invalid_message", "object"),
        ({"type": "call.accept", "id": 1, "data": {"call_id": "x"}}, "invalid_message", "call_id"),
        (
            {"type": "video.approve", "id": 1, "data": {"call_id": CALL, "direction": "up"}},
            "invalid_message",
            "direction",
        ),
        (
            {"type": "queue.join", "id": 1, "data": {"intent": "dating", "preferences": {"age_min": 12}}},
            "invalid_message",
            "age_min",
        ),
        (
            {
                "type": "call.candidates",
                "id": 1,
                "data": {"call_id": CALL, "negotiation": 1, "candidates": [{"candidate": "x"}] * 41},
            },
            "invalid_message",
            "candidates",
        ),
    ],
)
def test_a_bad_request_is_refused_with_what_is_wrong(raw: Any, code: str, says: str) -> None:
    """The code is for programs, the message names the field for people."""
    with pytest.raises(InvalidMessage) as caught:
        parse_request(raw)

    assert caught.value.code == code
    assert says in caught.value.message


def test_the_request_number_survives_into_the_error() -> None:
    """A client can tell which of its requests was refused."""
    with pytest.raises(InvalidMessage) as caught:
        parse_request({"type": "call.accept", "id": 41, "data": {}})

    assert caught.value.request_id == 41


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
def test_deep_nesting_is_refused(codec: Codec) -> None:
    """A thousand brackets are no message, and no crash."""
    deep = b"[" * 20_000 + b"]" * 20_000 if codec is JSON else b"\x91" * 20_000 + b"\xc0"

    with pytest.raises(InvalidMessage):
        parse_request(codec.decode(deep))


@pytest.mark.parametrize("levels", [1_000, 20_000])
@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
def test_deep_nesting_in_what_is_relayed_is_refused(codec: Codec, levels: int) -> None:
    """Also behind a beginning that goes the short way."""
    if codec is JSON:
        deep = b'{"type":"call.offer","x":' + b"[" * levels
    else:
        deep = b"\x82\xa4type\xaacall.offer\xa1x" + b"\x91" * levels

    with pytest.raises(InvalidMessage):
        codec.read(deep)


@pytest.mark.parametrize("name", ["tyUe", "Type", "x"])
@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.subprotocol)
def test_a_request_without_a_type_is_not_taken_for_a_relay(codec: Codec, name: str) -> None:
    """Though everything else is that of one."""
    data = {"call_id": CALL, "negotiation": 1, "sdp": "v=0"}
    whole = codec.encode({"type": "call.offer", "id": 1, "data": data})
    nameless = codec.encode({name: "call.offer", "id": 1, "data": data})
    without = codec.encode({"id": 1, "data": data})

    assert codec.read(whole).message.TYPE == "call.offer"
    for payload in (nameless, without):
        with pytest.raises(InvalidMessage, match="`type` is missing"):
            codec.read(payload)


def test_unknown_fields_are_named_and_ignored() -> None:
    """So that old and new apps work together; development servers refuse them."""
    request = parse_request(
        {"type": "call.candidates", "id": 1, "data": {"call_id": CALL, "negotiation": 1, "colour": "red"}}
    )

    assert request.message == CallCandidates(call_id=CALL, negotiation=1)
    assert request.unknown_fields == ("colour",)
