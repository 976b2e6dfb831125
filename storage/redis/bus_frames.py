"""What is published to a node's inbox: batches of frames, requests to send some again, and canaries.

The three are told apart by their first byte: a batch is a MessagePack array. Fields are only ever appended, since nodes
of two releases write to each other. A release before links were repaired sends three fields, learns of a lost end by
a batch of no frames as we do, and is never asked for anything, since it does not say where.
"""

import msgspec

from storage.redis.bus_sequence import GONE

CANARY = b"~"
"""How a canary begins: after it, the server's time in microseconds."""
ASK = b"?"
"""How a request begins: after it, an `Ask`."""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One publication: `frames` are numbered from `first`, on this link from sender to node."""

    sender: str
    """The link: another one whenever a sender begins anew at 1."""
    first: int
    frames: list[bytes]
    origin: str = ""
    """The node that sends, whose inbox takes requests; empty where it has none."""
    floor: int = 1
    """Numbers below it cannot be had again; GONE where the sender knows nothing of this link any more."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """`node_id` asks for frames of a link to it, by first and last number; 0 as the last: all from there on."""

    node_id: str
    sender: str
    ranges: list[tuple[int, int]]


_encoder = msgspec.msgpack.Encoder()
encode_batch = _encoder.encode
decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_ask = msgspec.msgpack.Decoder(Ask).decode


def encode_ask(ask: Ask) -> bytes:
    return ASK + _encoder.encode(ask)


def decode_ask(payload: bytes) -> Ask:
    """Raises: msgspec.MsgspecError."""
    return _decode_ask(memoryview(payload)[1:])


def gone(ask: Ask, origin: str) -> Batch:
    """The answer of a sender that has forgotten the link, or is not the one that is meant."""
    return Batch(ask.sender, 1, [], origin, GONE)
