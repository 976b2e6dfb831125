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
    sender: str = ""
    """Who wants to hear that it arrived: `CallHeard`. A process of an older release asks for nothing."""
    again: bool = False
    """Nobody said that it arrived: what has to be heard is not in `told`, but follows from the record."""


class CallHeard(msgspec.Struct, frozen=True, tag="heard", tag_field="kind"):
    """`sender` knows these calls as they stood in these versions, or later ones."""

    sender: str
    versions: list[tuple[str, int]]


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
    generation: int = 0
    """Not where the session has this generation or a newer one by now; 0: whatever it has."""


class SessionWanted(msgspec.Struct, frozen=True, tag="wanted", tag_field="kind"):
    """A device is on `node_id` now, which has set its row to itself and this generation, and wants all of its session.

    A session that is large comes in parts, each asked for.
    """

    session_id: str
    generation: int
    node_id: str
    part: int = 0


class SessionState(msgspec.Struct, frozen=True, tag="session", tag_field="kind"):
    """A part of a session that its node has let go: the answer to whoever has that generation."""

    session_id: str
    generation: int
    part: int
    parts: int
    piece: bytes


class SessionGone(msgspec.Struct, frozen=True, tag="gone", tag_field="kind"):
    """The session does not come: see `signaling.session.crossing_effects.Refusal`."""

    session_id: str
    generation: int
    reason: str


class SessionForwarded(msgspec.Struct, frozen=True, tag="late", tag_field="kind"):
    """A frame that arrived where the session was, sent on to where it is."""

    session_id: str
    frame: bytes
    hops: int


class SessionsTold(msgspec.Struct, frozen=True, tag="told", tag_field="kind"):
    """A message for sessions of the recipient, with its type as on the wire."""

    session_ids: list[str]
    type: str
    data: dict[str, Any]
    reliable: bool = True


class WatchEnded(msgspec.Struct, frozen=True, tag="unwatch", tag_field="kind"):
    """A connection has ended: whoever watches who is behind it learns no more of it."""

    connection_id: str


NodeFrame = (
    MatchAnnounced
    | CallCommitted
    | CallHeard
    | Relayed
    | SessionTaken
    | SessionsTold
    | WatchEnded
    | SessionWanted
    | SessionState
    | SessionGone
    | SessionForwarded
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[NodeFrame] = msgspec.msgpack.Decoder(NodeFrame)


def encode_frame(frame: NodeFrame) -> bytes:
    return _encoder.encode(frame)


def decode_frame(payload: bytes) -> NodeFrame:
    """Raises: msgspec.MsgspecError for what no known release sends."""
    return _decoder.decode(payload)
