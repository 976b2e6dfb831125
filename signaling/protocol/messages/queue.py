"""The `queue` family: waiting for a partner, and being found one."""

from typing import Annotated, ClassVar

import msgspec

from matchmaker.ticket import Preferences
from signaling.protocol.messages.call import IceTransportPolicy, PeerView
from signaling.protocol.messages.family import ClientMessage, ServerMessage, UnixMs, Uuid

IntentName = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9_-]+$")]


class QueueJoin(ClientMessage, frozen=True, kw_only=True):
    """Starts waiting. Joining twice gives the same ticket; another intent replaces the first."""

    TYPE: ClassVar[str] = "queue.join"
    intent: IntentName
    preferences: Preferences = Preferences()


class QueueLeave(ClientMessage, frozen=True, kw_only=True):
    """Stops waiting; `already_matched` where a partner has just been found."""

    TYPE: ClassVar[str] = "queue.leave"


class QueueLeft(ServerMessage, frozen=True, kw_only=True):
    """The ticket is gone though the client did not ask: it was paused for too long, or lost."""

    TYPE: ClassVar[str] = "queue.left"
    intent: str
    reason: str


class QueueStatus(ServerMessage, frozen=True, kw_only=True):
    """About where this person stands, and estimates of the time left; at most every 5 s.

    `position_band`: `next` (at most two before), `near` (less than 20), `middle` (less than 200) or `far`. Half of such
    waits are shorter than `eta_ms`, nine in ten than `eta_p90_ms`; both jump in steps, and are missing while nobody of
    that side is being matched. Whoever fits better may be served before.
    """

    TYPE: ClassVar[str] = "queue.status"
    RELIABLE: ClassVar[bool] = False
    intent: str
    position_band: str
    eta_ms: int | None
    eta_p90_ms: int | None
    queued_at: UnixMs
    server_now: UnixMs


class MatchFound(ServerMessage, frozen=True, kw_only=True):
    """A partner: accept before `accept_by_at`."""

    TYPE: ClassVar[str] = "match.found"
    call_id: Uuid
    intent: str
    seat: str
    role: str
    offerer: bool
    peer: PeerView
    accept_by_at: UnixMs
    server_now: UnixMs
    ice_transport_policy: IceTransportPolicy = "all"
    """For the peer connection. With `relay` no other candidates reach the peer."""
