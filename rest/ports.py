"""What REST needs from the rest of the house, and the records that pass.

Times are integer milliseconds since the Unix epoch. Any method may raise `base.errors.Unavailable`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from accounts.model import Identity
from base.errors import ErrorCode, MinuetError
from matchmaker.report import QueuesReport
from presence.stats import PresenceReport
from signaling.dispatch.ice import IceServersAnswer
from signaling.feedback import Feedback


class InteractionPeer(msgspec.Struct, frozen=True, kw_only=True):
    """What history keeps of the other person: nothing that finds them again."""

    first_name: str


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """One finished call, as one of its two people sees it."""

    call_id: str
    intent: str
    role: str
    peer: InteractionPeer
    started_at: int | None
    """When both had media; null when the call never became live."""
    ended_at: int
    duration_ms: int
    reason: str
    connected: bool
    connection_id: str | None = None
    feedback: Feedback | None = None
    """What this person said of the call; the other's is never shown."""


class History(Protocol):
    """Reads what calls left behind."""

    async def interactions(
        self, user_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Interaction]:
        """At most `limit` calls of the user, newest first by (ended_at, call_id), strictly before that key."""
        ...


class CallCommands(Protocol):
    """The commands that REST and WebSocket share. Refusals are MinuetError with the code of CALLS.

    Each answers as the message does of which it is the twin. Where one that only takes something away answers None,
    the call could not be reached: what was asked is kept and done as soon as it can be.
    """

    async def connect(self, call_id: str, user_id: str) -> dict[str, Any]:
        """Ask to stay in touch; twin of `connect.request`."""
        ...

    async def pass_by(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """Do not stay in touch; twin of `connect.pass`."""
        ...

    async def request_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        """Ask for video; twin of `video.request`."""
        ...

    async def approve_video(
        self, call_id: str, user_id: str, direction: Literal["both", "receive"]
    ) -> dict[str, Any]:
        """Open video; twin of `video.approve`."""
        ...

    async def deny_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        """Refuse the pending request; twin of `video.deny`."""
        ...

    async def revoke_video(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """Take video back; twin of `video.revoke`."""
        ...

    async def hang_up(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """Leave the call; twin of `call.hangup`."""
        ...


class CallIceServers(Protocol):
    """ICE servers for the media of a call."""

    async def ice_servers(self, call_id: str, user_id: str) -> IceServersAnswer:
        """Minted anew for a participant; twin of `call.ice_servers`. Refusals are MinuetError."""
        ...


class Watch(Protocol):
    """Counts what is live."""

    async def presence(self) -> PresenceReport: ...

    async def queues(self) -> QueuesReport: ...


class Revocations(Protocol):
    """Knows which access tokens were taken back before they ran out."""

    async def is_revoked(self, identity: Identity) -> bool: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """The state of a token bucket after a request: `reset_ms` until it is full, `retry_after_ms` until a token."""

    allowed: bool
    remaining: int
    reset_ms: int
    retry_after_ms: int


class RateLimiter(Protocol):
    """Token buckets that all nodes share."""

    async def take(self, scope: str, subject: str, *, capacity: int, window_ms: int) -> Bucket:
        """Take one token of a bucket that refills `capacity` tokens in each `window_ms`."""
        ...


class InProgress(MinuetError):
    """The same request, with the same idempotency key, is being handled at this moment."""

    code = ErrorCode.CONFLICT


class KeyReused(MinuetError):
    """The idempotency key belongs to another request."""

    code = ErrorCode.CONFLICT


@dataclass(frozen=True, slots=True)
class ReplyKey:
    """What an answer is remembered by: a client's key means something only for its user and on its route."""

    user_id: str
    route: str
    """Method and path as it was registered, e.g. `POST /api/v1/interactions/{call_id}/connect`."""
    key: str


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The answer that an idempotency key already has."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to do a request and to say what its answer was; `nonce` tells it from a later one of the same key."""

    key: ReplyKey
    fingerprint: str
    nonce: str


class Replies(Protocol):
    """Remembers answers by idempotency key for ten minutes."""

    async def begin(self, key: ReplyKey, fingerprint: str) -> Reservation | StoredReply:
        """Reserve the key, or return the answer that it has.

        Raises:
            KeyReused: it was used for a request with another fingerprint.
            InProgress: the same request has not finished.
        """
        ...

    async def finish(self, reservation: Reservation, status: int, body: bytes) -> None:
        """Keep the answer, unless the reservation has run out; one that is too long is not kept."""
        ...

    async def abandon(self, reservation: Reservation) -> None:
        """Free the key: the request may be done anew."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency in `/readyz`: `probe` returns when it is well and raises otherwise.

    Only a `required` one that fails makes the process not ready.
    """

    required: bool
    probe: Callable[[], Awaitable[None]]
