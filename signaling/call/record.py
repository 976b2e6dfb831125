"""The stored record of a call: everything that any node needs to decide its next step.

Decides what is kept and when the earliest timer is due. Refuses to know how it is stored: `encode` and `decode`
are its only form outside a process. The intent's policy is part of the record, so that every node decides alike,
also while a new configuration is being rolled out. Times are Unix milliseconds; a timer that does not run is
`None`. No audio, no SDP and no IP address is in here.

Rolling updates: unknown fields are ignored, so a new field needs a default that means "as before": a node of the
older release drops the field when it commits.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal

import msgspec

from base.ids import CallId, ConnectionId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender, IntentPolicy
from signaling.call.states import TALKING, EndReason, Role, Seat, State, other
from signaling.protocol.messages.call import MediaStats


class RecordedPolicy(IntentPolicy, frozen=True, forbid_unknown_fields=False, kw_only=True):
    """The intent's policy as it was at the match; fields of a newer release are ignored."""


def recorded(policy: IntentPolicy) -> RecordedPolicy:
    """The copy of a policy that goes into a record."""
    return msgspec.convert(policy, RecordedPolicy, from_attributes=True)


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A request that waits for the other side's answer."""

    by: Seat
    until_at: int


class ConsentKind(StrEnum):
    """What the consent log tells apart."""

    VIDEO_ASKED = "video_asked"
    VIDEO_ALLOWED = "video_allowed"
    VIDEO_DENIED = "video_denied"
    VIDEO_REVOKED = "video_revoked"
    CONNECT_WISHED = "connect_wished"
    CONNECT_PASSED = "connect_passed"
    CONNECTED = "connected"


class ConsentEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the consent log."""

    at: int
    kind: ConsentKind
    by: Seat | None = None
    """Who did it; nobody where time ran out."""
    sender: Seat | None = None
    """Whose video was allowed or revoked."""
    reason: Literal["denied", "timeout"] | None = None
    direction: Literal["both", "receive"] | None = None
    """What the approver named; `sender` says whom it allows."""


class RefusedRelays(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the consent log about what the gate refused: as many of one seat, by one code, in about a second.

    Not among `Call.events`: the release before this one would not know its kind, and could not read the record.
    """

    at: int
    by: Seat
    code: str
    count: int
    after: int
    """How many of the events came before it."""


class SeatRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a call: who sits there, where they are, what they did and what they may do."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    ticket_id: TicketId
    queued_at: int
    gender: Gender
    first_name: str
    age: int
    languages: tuple[str, ...]
    verified: bool
    role: Role

    attached: bool = True
    """Whether the session has a socket."""
    accepted: bool = False
    media_connected: bool = False
    """The seat claims that media flows."""
    freed: bool = False
    """The call is over for this seat: it was told `call.ended` and its ticket was released or returned."""
    requeued: bool = False
    """The ticket went back to the queue, at its old place."""

    video_allowed: bool = False
    """Whether this seat may send video."""
    video_off_at: int | None = None
    """Timer: until then a relayed answer must have this seat's revoked video off."""
    video_requests: int = 0
    video_cooldown_at: int | None = None
    """No new video request before that moment; nothing happens when it passes."""

    wishes_connection: bool = False
    """Wants to stay in touch. The other seat must not learn of it before both do."""
    hidden: int = 0
    """How many versions of the record this seat is not to notice: its own view counts without them."""

    signaling_spent: int = 0
    """Of the budget for descriptions and candidates, when the seat last left a node: the next one goes on from it."""

    stats: MediaStats | None = None
    """The last report of quality."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call. `version` rises by one with each change."""

    call_id: CallId
    intent: str
    policy: RecordedPolicy
    version: int = 1
    state: State = State.PROPOSED
    created_at: int
    a: SeatRecord
    b: SeatRecord

    deadline_at: int | None
    """Timer: the state's own. In `live` it is the clock that ends the state, so there is none."""
    ends_at: int | None = None
    """Timer: the clock, from the moment both hear each other."""
    video_request: Pending | None = None
    """Timer."""
    extension_request: Pending | None = None
    """Timer."""

    extensions: int = 0
    """How often the clock was extended."""
    resets: int = 0
    """How often both had to build new peer connections."""

    live_since: int | None = None
    closed_at: int | None = None
    """When media was over: on entering `deciding`, or at the end."""
    closed_for: EndReason | None = None
    """Why, where it was on entering `deciding`: what a guest was told. A process of an older release leaves it out."""
    ended_at: int | None = None
    reason: EndReason | None = None

    connected: bool = False
    """Whether the two stay in touch."""
    connection_id: ConnectionId | None = None

    events: tuple[ConsentEvent, ...] = ()
    """The consent log, append-only and bounded: see `signaling.call.change`."""
    refused: tuple[RefusedRelays, ...] = ()
    """The rest of the consent log."""
    consent_head: bytes = b""
    """The hash of the log's last entry, see `signaling.call.consent`; empty until there is one."""
    refusals: dict[str, int] = {}
    """How many descriptions and candidates were refused, by error code."""

    def seat(self, seat: Seat) -> SeatRecord:
        return self.a if seat == "a" else self.b

    def peer(self, seat: Seat) -> SeatRecord:
        """The record of the seat across."""
        return self.seat(other(seat))

    def seat_of(self, user_id: UserId) -> Seat | None:
        """Where a user sits; `None` for everybody else."""
        if self.a.user_id == user_id:
            return "a"
        return "b" if self.b.user_id == user_id else None

    @property
    def duration_ms(self) -> int:
        """How long the two could talk, lost moments included; 0 until media is over."""
        if self.live_since is None or self.closed_at is None:
            return 0
        return self.closed_at - self.live_since

    @property
    def next_deadline_at(self) -> int | None:
        """The earliest of all timers; `None` only when the call has ended."""
        return min(self._timers(), default=None)

    def _timers(self) -> Iterator[int]:
        for request in (self.video_request, self.extension_request):
            if request is not None:
                yield request.until_at
        for at in (self.a.video_off_at, self.b.video_off_at, self.deadline_at):
            if at is not None:
                yield at
        # The clock's moment stays on the record after the call, where it is no timer any more.
        if self.ends_at is not None and self.state in TALKING:
            yield self.ends_at


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Call)


def encode(call: Call) -> bytes:
    """The stored form of a call (MessagePack)."""
    return _encoder.encode(call)


def decode(data: bytes) -> Call:
    """The call that `encode` stored.

    Raises:
        msgspec.DecodeError: the bytes are no call record.
    """
    return _decoder.decode(data)
