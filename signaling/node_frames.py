"""What nodes tell each other over the bus: one tagged class per frame.

Unknown fields are ignored, so that nodes of two releases work side by side. Pure.
"""

from typing import Any

import msgspec

from matchmaker.matches import Match
from signaling.protocol.messages.call import SeatName


class MatchAnnounced(msgspec.Struct, frozen=True, tag="match", tag_field="kind"):
    """The matchmaker paired somebody on this node."""

    match: Match


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A message for one seat, with its type as on the wire."""

    seat: SeatName
    type: str
    data: dict[str, Any]


class CallCommitted(msgspec.Struct, frozen=True, tag="call", tag_field="kind"):
    """A call changed; `record` is the encoded call, `told` what each seat has to hear besides `call.state`."""

    call_id: str
    record: bytes
    rev: str
    told: list[Told]


class Relayed(msgspec.Struct, frozen=True, tag="relay", tag_field="kind"):
    """A description or candidates from the peer's node, judged there at that version of the call."""

    call_id: str
    to_seat: SeatName
    version: int
    type: str
    data: dict[str, Any]


class SessionTaken(msgspec.Struct, frozen=True, tag="taken", tag_field="kind"):
    """A device has a newer session elsewhere: close this one."""

    session_id: str


class SessionsTold(msgspec.Struct, frozen=True, tag="told", tag_field="kind"):
    """A message for sessions of the recipient, with its type as on the wire."""

    session_ids: list[str]
    type: str
    data: dict[str, Any]
    reliable: bool = True


class WatchEnded(msgspec.Struct, frozen=True, tag="unwatch", tag_field="kind"):
    """A connection has ended: whoever watches who is behind it learns no more of it."""

    connection_id: str


NodeFrame = MatchAnnounced | CallCommitted | Relayed | SessionTaken | SessionsTold | WatchEnded

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[NodeFrame] = msgspec.msgpack.Decoder(NodeFrame)


def encode_frame(frame: NodeFrame) -> bytes:
    return _encoder.encode(frame)


def decode_frame(payload: bytes) -> NodeFrame:
    """Raises: msgspec.MsgspecError for what no known release sends."""
    return _decoder.decode(payload)
