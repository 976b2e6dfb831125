"""What people say about each other, as it is kept. Times are Unix milliseconds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from base.ids import CallId, ConnectionId, UserId

NOTE_LENGTH: Final = 2_000
"""Characters that somebody may tell the moderators."""


class ReportCategory(StrEnum):
    """What a report is about; a closed list."""

    HARASSMENT = "harassment"
    NUDITY = "nudity"
    HATE = "hate"
    SCAM = "scam"
    UNDERAGE = "underage"
    SPAM = "spam"
    OTHER = "other"


class Block(msgspec.Struct, frozen=True, kw_only=True, tag="block", tag_field="kind"):
    """`by_id` does not want to meet `other_id` again; neither meets the other."""

    id: str
    by_id: UserId
    other_id: UserId
    call_id: CallId | None
    made_at: int


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report", tag_field="kind"):
    """`by_id` tells the moderators about `other_id`."""

    id: str
    by_id: UserId
    other_id: UserId
    call_id: CallId | None
    category: ReportCategory
    note: str
    made_at: int
    connection_id: ConnectionId | None = None
    """The connection that it is about, where it is not about a call."""


SafetyRecord = Block | Report


@dataclass(frozen=True, slots=True)
class MadeBlock:
    """A block that stands, as whoever made it sees it."""

    block_id: str
    first_name: str
    made_at: int


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[SafetyRecord] = msgspec.msgpack.Decoder(SafetyRecord)


def encode_record(record: SafetyRecord) -> bytes:
    """The form in which a record waits to be written (MessagePack)."""
    return _encoder.encode(record)


def decode_record(payload: bytes) -> SafetyRecord:
    """The record that `encode_record` made.

    Raises:
        msgspec.MsgspecError: the bytes are no record of this release.
    """
    return _decoder.decode(payload)
