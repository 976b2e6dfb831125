"""What the sessions of a node share, and what they want of those who own them."""

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from base.clock import Clock
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import Request
from signaling.session.limits import SessionLimits
from signaling.standstill import Standstill

if TYPE_CHECKING:  # a session is made of these, so that its module imports this one
    from signaling.live_session import LiveSession

DETACHED_MS: Final = 60_000
DETACHED_IN_CALL_MS: Final = 120_000
EXPIRY_WARNING_MS: Final = 60_000
EXPIRY_GRACE_MS: Final = 30_000


class Dispatcher(Protocol):
    """What messages are handed to."""

    def relay(self, live: "LiveSession", request: Request) -> None:
        """Does a relay at once and replies."""
        ...

    async def handle(self, live: "LiveSession", request: Request) -> Mapping[str, Any] | None:
        """Does a command; the result is the `data` of its `ok`. Raises: MinuetError."""
        ...


class Lifecycle(Protocol):
    """Who is told how a session goes; none of these may raise or block."""

    def detached(self, live: "LiveSession") -> None:
        """The socket is gone; the client may come back."""
        ...

    def ended(self, live: "LiveSession", reason: str) -> None:
        """The session is over."""
        ...

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine of this session in the hub's task group."""
        ...


@dataclass(frozen=True, slots=True)
class SessionShell:
    """What all sessions of a node share."""

    clock: Clock
    limits: SessionLimits
    dispatcher: Dispatcher
    lifecycle: Lifecycle
    metrics: SessionMetrics
    strict: bool
    """Refuse unknown fields instead of counting them."""
    standstill: Standstill
