"""The `chat` and `presence` families: what two people who stay in touch say to each other, and who of them is there.

`self` and `peer` are always seen from whoever reads the message: nobody is told a user's id. `number` counts the messages
of a connection from 1, without gaps: readers order by it and notice by it what they have missed.
"""

from typing import Annotated, ClassVar, Literal

import msgspec

from chat.rules import MAX_WATCHED
from signaling.protocol.messages.family import ClientMessage, ServerMessage, UnixMs, Uuid

ClientId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[!-~]+$",
        description="The sender's own name for a message: sent again under it, it is still the same message.",
    ),
]
# The rules refuse far less than this with their own code; here only what is decoded is bounded.
Body = Annotated[str, msgspec.Meta(max_length=16_000)]
MessageNumber = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Side = Literal["self", "peer"]


class ChatSend(ClientMessage, frozen=True, kw_only=True):
    """Says something; answered by `ok {id, number, sent_at}` once it is kept."""

    TYPE: ClassVar[str] = "chat.send"
    connection_id: Uuid
    client_id: ClientId
    body: Body


class ChatRead(ClientMessage, frozen=True, kw_only=True):
    """Has read everything up to the message of that number; answered by `ok {up_to, unread}`."""

    TYPE: ClassVar[str] = "chat.read"
    connection_id: Uuid
    up_to: MessageNumber


class ChatTyping(ClientMessage, frozen=True, kw_only=True):
    """Is typing. Never refused: what comes too often, or has nobody to go to, is dropped."""

    TYPE: ClassVar[str] = "chat.typing"
    NEEDS_ID: ClassVar[bool] = False
    connection_id: Uuid


class PresenceWatch(ClientMessage, frozen=True, kw_only=True):
    """Wants to know who is there; answered by `ok {watching}`, then one `presence.update` for each of them."""

    TYPE: ClassVar[str] = "presence.watch"
    connection_ids: Annotated[list[Uuid], msgspec.Meta(min_length=1, max_length=MAX_WATCHED)]


class PresenceUnwatch(ClientMessage, frozen=True, kw_only=True):
    """Does not want to know any more; without `connection_ids`, of anybody."""

    TYPE: ClassVar[str] = "presence.unwatch"
    connection_ids: Annotated[list[Uuid], msgspec.Meta(max_length=MAX_WATCHED)] | None = None


class ChatMessage(ServerMessage, frozen=True, kw_only=True):
    """Somebody said something. May come again under the same `id`."""

    TYPE: ClassVar[str] = "chat.message"
    connection_id: Uuid
    id: Uuid
    number: int
    client_id: str | None = None
    """Only to the sender's own devices."""
    sender: Side = msgspec.field(name="from")
    body: str
    sent_at: UnixMs
    unread: int | None = None
    """Only to the other person's devices: how many messages they have not read, this one included."""


class ChatReadUpTo(ServerMessage, frozen=True, kw_only=True):
    """How far somebody has read; the peer, or the reader on another device."""

    TYPE: ClassVar[str] = "chat.read"
    connection_id: Uuid
    by: Side
    up_to: int
    unread: int | None = None
    """Only to the reader's own devices: how many messages they have not read."""


class ChatIsTyping(ServerMessage, frozen=True, kw_only=True):
    """Somebody is typing; show it for a few seconds."""

    TYPE: ClassVar[str] = "chat.typing"
    RELIABLE: ClassVar[bool] = False
    connection_id: Uuid
    sender: Side = msgspec.field(name="from")


class ConnectionEnded(ServerMessage, frozen=True, kw_only=True):
    """The connection is gone, by the reader's own doing on this or another device. The peer is told nothing."""

    TYPE: ClassVar[str] = "connection.ended"
    connection_id: Uuid


class PresenceUpdate(ServerMessage, frozen=True, kw_only=True):
    """Whether the other person of a watched connection is there. `offline` is also the last that is ever told."""

    TYPE: ClassVar[str] = "presence.update"
    RELIABLE: ClassVar[bool] = False
    connection_id: Uuid
    presence: Literal["online", "offline"]
