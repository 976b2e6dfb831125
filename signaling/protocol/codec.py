"""From bytes to messages and back: one schema, two encodings.

Decides whether a payload is a well-formed request. JSON is read by orjson, MessagePack by msgpack; both give plain
objects, which msgspec then holds against the message classes, so the two encodings cannot drift. What is relayed, the
bulk of all messages, msgspec tries to read in one step; whatever it does not take goes the long way, and only that way
refuses. Messages are written by msgspec as they are, without a detour over plain objects.
Knows nothing of sessions, numbering or limits but that of nesting.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Protocol

import msgpack
import msgspec
import orjson

from base.errors import ErrorCode, MinuetError
from signaling.protocol.messages.call import CallAnswer, CallCandidates, CallOffer
from signaling.protocol.messages.family import ClientMessage
from signaling.protocol.schema import CLIENT_MESSAGES

_MAX_ID = 2**53 - 1  # the largest integer that every JSON client can count to
_FIELDS = {message: frozenset(message.__struct_encode_fields__) for message in CLIENT_MESSAGES.values()}
_EMPTY: dict[str, Any] = {}


class InvalidMessage(MinuetError):
    """The payload is no request; carries the envelope's `id` where that much could be read."""

    code = ErrorCode.INVALID_MESSAGE

    def __init__(self, message: str, *, code: ErrorCode | None = None, request_id: int | None = None) -> None:
        super().__init__(message, code=code)
        self.request_id = request_id


class Request(Protocol):
    """One client message with its envelope."""

    @property
    def message(self) -> ClientMessage: ...

    @property
    def id(self) -> int | None: ...

    @property
    def ack(self) -> int | None: ...

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """Names in the message's `data` that its class does not have."""
        ...


class _Request(msgspec.Struct, frozen=True):
    message: ClientMessage
    id: int | None
    ack: int | None
    unknown_fields: tuple[str, ...]


Number = Annotated[int, msgspec.Meta(ge=0, le=_MAX_ID)]
# Of a `Uuid` the length. Its pattern would be half of what reading costs, so `read` looks at the letters itself.
_AnyId = Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
_LETTERS_OF_IDS = "0123456789abcdef-"
# Raised by a reader for what goes the long way.
_NOT_TAKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# A message with an unknown field goes the long way, on which the field is counted.
class _Offer(CallOffer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    call_id: _AnyId


class _Answer(CallAnswer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    call_id: _AnyId


class _Candidates(CallCandidates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    call_id: _AnyId


class _Relayed(msgspec.Struct, tag_field="type", rename={"message": "data"}, frozen=True, gc=False):
    id: Number
    ack: Number | None = None
    unknown_fields: ClassVar[tuple[str, ...]] = ()


class _OfferRequest(_Relayed, tag=CallOffer.TYPE, frozen=True, kw_only=True, gc=False):
    message: _Offer


class _AnswerRequest(_Relayed, tag=CallAnswer.TYPE, frozen=True, kw_only=True, gc=False):
    message: _Answer


class _CandidatesRequest(_Relayed, tag=CallCandidates.TYPE, frozen=True, kw_only=True, gc=False):
    message: _Candidates


_RELAYED = (_OfferRequest, _AnswerRequest, _CandidatesRequest)
_Reader = Callable[[bytes], "_OfferRequest | _AnswerRequest | _CandidatesRequest"]


class Codec(Protocol):
    """One encoding of the protocol."""

    subprotocol: str
    binary: bool

    def decode(self, payload: bytes) -> object:
        """Plain objects; raises InvalidMessage."""
        ...

    def read(self, payload: bytes) -> Request:
        """The request in a payload. Raises: as `parse_request`."""
        ...

    @property
    def encode(self) -> Callable[[object], bytes]:
        """Gives the encoded form of a message, or of plain objects."""
        ...

    def envelope(self, type_: str, body: bytes | None, id: int | None, seq: int | None) -> bytes:
        """A whole frame around an encoded body, which is spliced in as it is."""
        ...

    def ok(self, id: int | None, seq: int) -> bytes:
        """As `envelope`, of an `ok` without a body."""
        ...


def _readers_by(decoder: Callable[[Any], Any], *beginnings: bytes) -> dict[bytes, _Reader]:
    return {begins: decoder(request).decode for begins, request in zip(beginnings, _RELAYED, strict=True)}


class _Reading:
    """How both encodings are read."""

    # By how a request begins, as far as the types' two letters that part them, where a client writes the type first;
    # elsewhere nothing is lost but time.
    _readers: ClassVar[dict[bytes, _Reader]]
    _begins_at: ClassVar[slice]

    def decode(self, payload: bytes) -> object:
        raise NotImplementedError

    def read(self, payload: bytes) -> Request:
        quick = self._readers.get(payload[self._begins_at])
        if quick is not None:
            try:
                request = quick(payload)
            except _NOT_TAKEN:
                pass
            else:
                if not request.message.call_id.strip(_LETTERS_OF_IDS):
                    return request
        return parse_request(self.decode(payload))


class JsonCodec(_Reading):
    """`minuet.v1.json`: text frames."""

    subprotocol = "minuet.v1.json"
    binary = False
    encode = staticmethod(msgspec.json.Encoder().encode)
    _readers = _readers_by(
        msgspec.json.Decoder, b'{"type":"call.of', b'{"type":"call.an', b'{"type":"call.ca'
    )
    _begins_at = slice(0, len('{"type":"call.of'))

    def decode(self, payload: bytes) -> object:
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise InvalidMessage(f"not JSON: {error.msg}") from None

    def envelope(self, type_: str, body: bytes | None, id: int | None, seq: int | None) -> bytes:
        if id is None and seq is not None and body is not None:
            return b'{"type":"%b","seq":%d,"data":%b}' % (type_.encode(), seq, body)
        request = b"" if id is None else b',"id":%d' % id
        number = b"" if seq is None else b',"seq":%d' % seq
        if body is None:
            return b'{"type":"%b"%b%b}' % (type_.encode(), request, number)
        return b'{"type":"%b"%b%b,"data":%b}' % (type_.encode(), request, number, body)

    def ok(self, id: int | None, seq: int) -> bytes:
        if id is None:
            return self.envelope("ok", None, id, seq)
        return b'{"type":"ok","id":%d,"seq":%d}' % (id, seq)


class MsgpackCodec(_Reading):
    """`minuet.v1.msgpack`: binary frames."""

    subprotocol = "minuet.v1.msgpack"
    binary = True
    encode = staticmethod(msgspec.msgpack.Encoder().encode)
    # After the map's size; the byte ahead of each type is its length.
    _readers = _readers_by(
        msgspec.msgpack.Decoder, b"\xa4type\xaacall.of", b"\xa4type\xabcall.an", b"\xa4type\xafcall.ca"
    )
    _begins_at = slice(1, 1 + len(b"\xa4type\xaacall.of"))

    def decode(self, payload: bytes) -> object:
        try:
            return msgpack.unpackb(payload, raw=False, strict_map_key=True)
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            raise InvalidMessage(f"not MessagePack: {error or type(error).__name__}") from None

    def envelope(self, type_: str, body: bytes | None, id: int | None, seq: int | None) -> bytes:
        pack = msgpack.packb
        parts = [b"\xa4type", pack(type_)]
        if id is not None:
            parts += (b"\xa2id", pack(id))
        if seq is not None:
            parts += (b"\xa3seq", pack(seq))
        if body is not None:
            parts += (b"\xa4data", body)
        return bytes((0x80 | len(parts) // 2,)) + b"".join(parts)

    def ok(self, id: int | None, seq: int) -> bytes:
        return self.envelope("ok", None, id, seq)


JSON = JsonCodec()
MSGPACK = MsgpackCodec()
CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}


def _count(raw: dict[str, Any], name: str) -> int | None:
    value = raw.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _MAX_ID:
        raise InvalidMessage(f"`{name}` is an integer from 0 to 2^53-1")
    return value


def parse_request(raw: object) -> Request:
    """Holds a decoded payload against the schema.

    Raises: InvalidMessage (`invalid_message` or `unknown_type`), with the request's id where it has one.
    """
    if type(raw) is not dict:
        raise InvalidMessage("a message is an object with `type`")
    request_id = _count(raw, "id")
    try:
        ack = _count(raw, "ack")
    except InvalidMessage as error:
        raise InvalidMessage(error.message, request_id=request_id) from None
    type_ = raw.get("type")
    if type(type_) is not str:
        raise InvalidMessage("`type` is missing", request_id=request_id)
    message_class = CLIENT_MESSAGES.get(type_)
    if message_class is None:
        raise InvalidMessage(
            f"unknown type `{type_[:64]}`", code=ErrorCode.UNKNOWN_TYPE, request_id=request_id
        )
    if request_id is None and message_class.NEEDS_ID:
        raise InvalidMessage(f"`{type_}` needs an `id`")
    data = raw.get("data")
    if data is None:
        data = _EMPTY
    try:
        message = msgspec.convert(data, message_class)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"{type_}: {error}", request_id=request_id) from None
    known = _FIELDS[message_class]
    unknown = () if known.issuperset(data) else tuple(key for key in data if key not in known)
    return _Request(message, request_id, ack, unknown)
