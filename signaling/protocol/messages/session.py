"""The `session` family: starting, keeping and ending a session; replies and heartbeats."""

from typing import Annotated, ClassVar

import msgspec

from signaling.protocol.messages.call import CallState
from signaling.protocol.messages.family import ClientMessage, ServerMessage, ShortText, UnixMs, Uuid

Token = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
DeviceName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]


class ClientInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which app is speaking."""

    name: ShortText = ""
    version: ShortText = ""


class SessionStart(ClientMessage, frozen=True, kw_only=True):
    """The first message: who is there, on which device. The token never goes into the URL."""

    TYPE: ClassVar[str] = "session.start"
    NEEDS_ID: ClassVar[bool] = False
    token: Token | None = None
    """May be left out where the upgrade request carried `Authorization: Bearer`."""
    device_id: DeviceName
    client: ClientInfo = ClientInfo()


class SessionResume(ClientMessage, frozen=True, kw_only=True):
    """The first message on a new socket of a session that lost its old one."""

    TYPE: ClassVar[str] = "session.resume"
    NEEDS_ID: ClassVar[bool] = False
    token: Token | None = None
    session_id: Uuid
    last_seq: Annotated[int, msgspec.Meta(ge=0)]
    device_id: DeviceName
    client: ClientInfo = ClientInfo()


class SessionRefresh(ClientMessage, frozen=True, kw_only=True):
    """A newer access token for a live session."""

    TYPE: ClassVar[str] = "session.refresh"
    token: Token


class SessionEnd(ClientMessage, frozen=True, kw_only=True):
    """Leaves for good: the queue ticket goes, a call counts as hung up."""

    TYPE: ClassVar[str] = "session.end"


class Ack(ClientMessage, frozen=True, kw_only=True):
    """Only carries the envelope's `ack`: the highest `seq` seen."""

    TYPE: ClassVar[str] = "ack"
    NEEDS_ID: ClassVar[bool] = False


class Pong(ClientMessage, frozen=True, kw_only=True):
    """The answer to `ping`."""

    TYPE: ClassVar[str] = "pong"
    NEEDS_ID: ClassVar[bool] = False


class Ok(ServerMessage, frozen=True, kw_only=True):
    """A request succeeded; `data` is the request's own result."""

    TYPE: ClassVar[str] = "ok"


class ErrorReply(ServerMessage, frozen=True, kw_only=True):
    """A request was refused and changed nothing."""

    TYPE: ClassVar[str] = "error"
    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Ping(ServerMessage, frozen=True, kw_only=True):
    """Sent after silence; answer `pong` in time."""

    TYPE: ClassVar[str] = "ping"
    RELIABLE: ClassVar[bool] = False
    server_now: UnixMs


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must stay within."""

    max_frame_bytes: int
    max_sdp_bytes: int
    messages_per_s: float
    messages_burst: int
    outbox_messages: int
    outbox_bytes: int
    unanswered_pings_ms: int
    chat_per_s: float
    max_chat_characters: int
    max_watched: int


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    """The user's place in a queue."""

    intent: str
    ticket_id: Uuid
    queued_at: UnixMs


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client needs to draw its screen."""

    presence: str
    """`idle`, `queued`, `call` or, where this device said so, `away` (with its ticket, if it has one)."""
    ticket: TicketView | None = None
    call: CallState | None = None
    unread: dict[str, int] | None = None
    """Unread messages by connection, where there are any; null: not known at the moment, see `GET /connections`."""


class SessionReady(ServerMessage, frozen=True, kw_only=True):
    """A new session stands; whatever the client knew before is replaced by the snapshot."""

    TYPE: ClassVar[str] = "session.ready"
    session_id: Uuid
    resumed: bool = False
    user_id: Uuid
    heartbeat_s: float
    resume_window_s: float
    token_expires_at: UnixMs
    limits: Limits
    features: list[str]
    intents: list[str]
    server_now: UnixMs
    snapshot: Snapshot


class SessionResumed(ServerMessage, frozen=True, kw_only=True):
    """The session goes on; the messages after `replay_from` follow, then new ones."""

    TYPE: ClassVar[str] = "session.resumed"
    RELIABLE: ClassVar[bool] = False
    session_id: Uuid
    replay_from: int
    last_id: int
    token_expires_at: UnixMs
    server_now: UnixMs


class SessionExpiring(ServerMessage, frozen=True, kw_only=True):
    """The access token runs out soon: send `session.refresh`."""

    TYPE: ClassVar[str] = "session.expiring"
    token_expires_at: UnixMs


class SessionDrain(ServerMessage, frozen=True, kw_only=True):
    """The node is shutting down: reconnect after the delay."""

    TYPE: ClassVar[str] = "session.drain"
    # A replay on the next node would send away from there who has just come.
    RELIABLE: ClassVar[bool] = False
    reconnect_after_ms: int


class SessionSuperseded(ServerMessage, frozen=True, kw_only=True):
    """Another connection of this device took over; this one is closed with 4501."""

    TYPE: ClassVar[str] = "session.superseded"
    # The session is over: nobody comes back for it.
    RELIABLE: ClassVar[bool] = False
