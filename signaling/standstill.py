"""A node whose own loop stood still for seconds may be dead to all others: it looks again before it handles anything.

A process that was stopped (SIGSTOP, a frozen machine, a debugger) does not feel it. When it goes on, its lease may have
ended, and its people may be sitting on other nodes, with commands of theirs still unread in the sockets here. So whatever
comes in after such a gap waits until the lease holds again and every session is known to be still this node's. What came
from a socket whose session has gone elsewhere is never looked at.

Decides when that is and what waits. Refuses to know leases and sessions: whoever runs it brings the way to look again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from base.rounds import insist
from signaling.metrics import SessionMetrics

logger = structlog.get_logger(__name__)

GAP_MS: Final = 3_000
"""A lease lasts four seconds, and may be a second old when the loop stops."""

MAX_HELD_BYTES: Final = 16 * 1024 * 1024
MAX_HELD: Final = 20_000
_BACKOFF_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_NEVER: Final = 1 << 62


class Standstill:
    """Knows whether the loop has stood still. Until `run` runs it never has."""

    __slots__ = ("_bytes", "_held", "_metrics", "_monotonic_ms", "_noticed", "_over", "_runs", "stale_at")

    def __init__(self, monotonic_ms: Callable[[], int], metrics: SessionMetrics) -> None:
        self._monotonic_ms = monotonic_ms
        self._metrics = metrics
        self.stale_at = _NEVER
        """What comes at this moment (monotonic ms) or later has to be given to `hold`."""
        self._runs = False
        self._held: list[Callable[[], None]] = []
        self._bytes = 0
        self._noticed = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    def beat(self, now_ms: int) -> bool:
        """The loop turns; called several times a second. False while nothing may be judged by the time that passed."""
        if not self._runs:
            return True
        if now_ms >= self.stale_at:
            self._notice(now_ms)
            return False
        self.stale_at = now_ms + GAP_MS
        return True

    def hold(self, deliver: Callable[[], None], size: int) -> bool:
        """Keeps `deliver` until the node knows where it stands. False where no more can be kept: let go of the sender."""
        self._notice(self._monotonic_ms())
        if len(self._held) >= MAX_HELD or self._bytes + size > MAX_HELD_BYTES:
            self._metrics.stalled_frames("dropped", 1)
            return False
        self._held.append(deliver)
        self._bytes += size
        return True

    def guard(self, receive: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """`receive`, for frames of other nodes: they wait like all others."""

        def guarded(payload: bytes) -> None:
            if self._monotonic_ms() < self.stale_at:
                receive(payload)
            elif not self.hold(partial(receive, payload), len(payload)):
                logger.error("frame of another node dropped after a standstill", size=len(payload))

        return guarded

    async def passed(self) -> None:
        """Returns as soon as the node knows where it stands."""
        if self._monotonic_ms() >= self.stale_at:
            self._notice(self._monotonic_ms())
        await self._over.wait()

    async def run(self, look_again: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, has `look_again` called after every gap, and called again where it raises `Unavailable`."""
        self._runs = True
        self.stale_at = self._monotonic_ms() + GAP_MS
        while True:
            await self._noticed.wait()
            began = self._monotonic_ms()
            # Whoever cannot look again must not act either.
            await insist(look_again, "could not look again after a standstill", _BACKOFF_S)
            self._noticed.clear()
            self.stale_at = self._monotonic_ms() + GAP_MS
            held, self._held, self._bytes = self._held, [], 0
            logger.warning("goes on after a standstill", held=len(held), took_ms=self._monotonic_ms() - began)
            self._metrics.stalled_frames("held", len(held))
            # In the order they came in, and before anything that comes in now.
            for deliver in held:
                _deliver(deliver)
            self._over.set()

    def _notice(self, now_ms: int) -> None:
        if not self._noticed.is_set():
            logger.warning("stood still", for_ms=now_ms - self.stale_at + GAP_MS)
            self._metrics.standstills.inc()
            self.stale_at = 0
            self._over.clear()
            self._noticed.set()


def _deliver(deliver: Callable[[], None]) -> None:
    try:
        deliver()
    except Exception:
        # Broad: those that waited behind it are not to blame.
        logger.exception("a frame that had to wait could not be handled")
