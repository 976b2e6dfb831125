"""What can happen to a call, in the past tense; `seat` says whose doing it is.

Decides nothing. `COMMANDS` are what a person asked for: illegal ones are refused with a code. `FACTS` are what the
server noticed: where they mean nothing any more they are ignored.
"""

from dataclasses import dataclass
from typing import Final, Literal

from base.errors import ErrorCode
from base.ids import ConnectionId, DeviceId, NodeId, SessionId
from signaling.call.states import SEATS, Seat
from signaling.protocol.messages.call import MediaStats


@dataclass(frozen=True, slots=True)
class Accepted:
    """The seat takes the proposed call."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class Declined:
    """The seat refuses the proposed call."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class HungUp:
    """The seat leaves what it sees: the talk, or the question that comes after it."""

    seat: Seat
    passes: bool | None = None
    """Whether it leaves that question, too: it saw it, or has been told that the call is over. Leaving the talk alone is
    no answer to it, however late that is decided about, and however often. None: as whoever hears of it finds the seat to
    see the call."""


@dataclass(frozen=True, slots=True)
class MediaConnected:
    """The seat claims that media flows."""

    seat: Seat
    answer_relayed: bool
    """Whether an answer of this call has been relayed: before it, the claim cannot be true."""


@dataclass(frozen=True, slots=True)
class MediaDisconnected:
    """The seat has had no media for a while (3 s, by its SDK), and tries to get it back."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class MediaFailed:
    """The seat cannot get its peer connection to work again, or has none: both have to build new ones.

    Also what a shell reports that can no longer tell the two peers' negotiation (a new session found one open, a
    gap between nodes could not be filled).
    """

    seat: Seat


@dataclass(frozen=True, slots=True)
class SeatAttached:
    """The seat has a socket: a resumed session, a session on another node, or a new one on the same device."""

    seat: Seat
    session_id: SessionId
    node_id: NodeId
    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class SeatDetached:
    """A session lost its socket; of one that is not the seat's any more, or not on this node, only `spent` counts."""

    seat: Seat
    session_id: SessionId
    spent: int = 0
    """What the seat has sent of its signaling budget, as far as the reporting node knows."""
    node_id: NodeId | None = None
    """Where the record has the session, as the reporting node understood it; None where the node is gone."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over for good: ended by its client, closed with 1000, or expired."""

    seat: Seat
    session_id: SessionId


@dataclass(frozen=True, slots=True)
class VideoRequested:
    """The seat asks to open video."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class VideoApproved:
    """The seat opens video `both` ways, or only to `receive`: then only the other side sends."""

    seat: Seat
    direction: Literal["both", "receive"]


@dataclass(frozen=True, slots=True)
class VideoDenied:
    """The seat refuses the pending request."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class VideoRevoked:
    """The seat takes back all video, its own and the other's."""

    seat: Seat
    age_ms: int | None = None
    """How long ago it was said, where it is done late: what was asked for and allowed since stays."""


@dataclass(frozen=True, slots=True)
class VideoStopped:
    """An answer was relayed after which these seats send no video."""

    seats: tuple[Seat, ...] = SEATS


@dataclass(frozen=True, slots=True)
class ExtensionRequested:
    """The seat asks for more time."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class ExtensionAnswered:
    """The seat answers the other's wish for more time."""

    seat: Seat
    accept: bool


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The seat wants to stay in touch; `connection_id` is for the connection, should this make it."""

    seat: Seat
    connection_id: ConnectionId


@dataclass(frozen=True, slots=True)
class ConnectPassed:
    """The seat does not want to stay in touch."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class QueueJoined:
    """The seat's user wants to queue again: whoever still decides about this call passes by that."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class Blocked:
    """The seat's user never wants to meet the other again."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class PartnerUnavailable:
    """The seat's user could not be brought into the call (SCALE.md, "Match to call", step 2)."""

    seat: Seat
    still_waiting: bool = False
    """Kept out by a block between the two, so innocent: goes back to the queue like the other."""


@dataclass(frozen=True, slots=True)
class SignalingLimitReached:
    """The seat has used up its budget of signaling for this call."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class Moderated:
    """A moderator, or a ban, ends the call; `seat` is whom it is about, if it is about one side."""

    seat: Seat | None = None


@dataclass(frozen=True, slots=True)
class QualityReported:
    """The seat's measurements; the last report counts. Neither side is told."""

    seat: Seat
    stats: MediaStats


@dataclass(frozen=True, slots=True)
class RelayRefused:
    """The gate refused descriptions or candidates of the seat. Neither side is told more than the refusal."""

    seat: Seat
    code: ErrorCode
    count: int = 1


@dataclass(frozen=True, slots=True)
class TimerFired:
    """Time has passed. Early, or with nothing due, it means nothing."""


Event = (
    Accepted
    | Declined
    | HungUp
    | MediaConnected
    | MediaDisconnected
    | MediaFailed
    | SeatAttached
    | SeatDetached
    | SessionEnded
    | VideoRequested
    | VideoApproved
    | VideoDenied
    | VideoRevoked
    | VideoStopped
    | ExtensionRequested
    | ExtensionAnswered
    | ConnectRequested
    | ConnectPassed
    | QueueJoined
    | Blocked
    | PartnerUnavailable
    | SignalingLimitReached
    | Moderated
    | QualityReported
    | RelayRefused
    | TimerFired
)

COMMANDS: Final[tuple[type[Event], ...]] = (
    Accepted,
    Declined,
    HungUp,
    MediaConnected,
    MediaDisconnected,
    MediaFailed,
    VideoRequested,
    VideoApproved,
    VideoDenied,
    VideoRevoked,
    ExtensionRequested,
    ExtensionAnswered,
    ConnectRequested,
    ConnectPassed,
    QueueJoined,
    Blocked,
)

FACTS: Final[tuple[type[Event], ...]] = (
    SeatAttached,
    SeatDetached,
    SessionEnded,
    VideoStopped,
    PartnerUnavailable,
    SignalingLimitReached,
    Moderated,
    QualityReported,
    RelayRefused,
    TimerFired,
)


def actor(event: Event) -> Seat | None:
    """Whose doing an event is; `None` for what no single seat did."""
    match event:
        case TimerFired() | VideoStopped():
            return None
        case _:
            return event.seat
