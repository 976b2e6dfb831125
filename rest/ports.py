"""What REST needs from the rest of the house, and the records that pass.

Times are integer milliseconds since the Unix epoch. Any method may raise `base.errors.Unavailable`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from accounts.model import Identity
from presence.stats import PresenceReport


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


class History(Protocol):
    """Reads what calls left behind."""

    async def interactions(
        self, user_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Interaction]:
        """At most `limit` calls of the user, newest first by (ended_at, call_id), strictly before that key."""
        ...


class CallCommands(Protocol):
    """The commands that REST and WebSocket share. Refusals are MinuetError with the code of CALLS."""

    async def connect(self, call_id: str, user_id: str) -> dict[str, Any]:
        """Ask to stay in touch; answers as the message `connect.request` does."""
        ...

    async def request_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        """Ask for video; answers as the message `video.request` does."""
        ...


class Watch(Protocol):
    """Counts what is live."""

    async def presence(self) -> PresenceReport: ...


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


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The answer that an idempotency key already has."""

    fingerprint: str
    status: int
    body: bytes


class Replies(Protocol):
    """Remembers answers by user and idempotency key for ten minutes."""

    async def begin(self, user_id: str, key: str, fingerprint: str) -> StoredReply | None:
        """Reserve the key, or return the answer that it has.

        Raises:
            InProgress: another request with this key has not finished.
        """
        ...

    async def finish(self, user_id: str, key: str, reply: StoredReply) -> None: ...

    async def abandon(self, user_id: str, key: str) -> None:
        """Free the key: the request changed nothing and may be tried again."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency in `/readyz`: `probe` returns when it is well and raises otherwise.

    Only a `required` one that fails makes the process not ready.
    """

    required: bool
    probe: Callable[[], Awaitable[None]]
