"""The live sessions of this node, and the one timer that serves them all.

Decides nothing about users or calls: it finds sessions, counts them, and asks each one when its time has come.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import structlog

from base.clock import Clock
from base.ids import DeviceId, SessionId, UserId
from base.wheel import TimerWheel
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.standstill import Standstill

TURN_S = 0.25
_AFTER_FAILURE_MS = 1_000

logger = structlog.get_logger(__name__)


class Hub:
    """Sessions by id and by device."""

    def __init__(self, clock: Clock, metrics: SessionMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self.standstill = Standstill(clock.monotonic_ms, metrics)
        """Whether this node may act, after its own loop stood still."""
        self._turn_due_at: int | None = None
        self._last_lag_ms = 0
        self._by_id: dict[SessionId, LiveSession] = {}
        self._by_device: dict[tuple[UserId, DeviceId], LiveSession] = {}
        self._wheel: TimerWheel[LiveSession] = TimerWheel(round(TURN_S * 1000), clock.monotonic_ms())
        self.added: Callable[[LiveSession], None] = lambda _live: None
        """Told of each session that has been added; may end it."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._by_id.values()))

    def add(self, live: LiveSession) -> None:
        """Keeps the session; it becomes the one of its device."""
        self._by_id[live.id] = live
        self._by_device[live.user_id, live.device_id] = live
        self.wake(live)
        self.added(live)

    def remove(self, live: LiveSession) -> None:
        self._by_id.pop(live.id, None)
        key = (live.user_id, live.device_id)
        if self._by_device.get(key) is live:
            del self._by_device[key]

    def session(self, session_id: SessionId) -> LiveSession | None:
        return self._by_id.get(session_id)

    def on_device(self, user_id: UserId, device_id: DeviceId) -> LiveSession | None:
        return self._by_device.get((user_id, device_id))

    def of_user(self, user_id: UserId) -> list[LiveSession]:
        """The sessions of a user, on any device; rare enough to look at all."""
        return [live for live in self._by_id.values() if live.user_id == user_id]

    def wake(self, live: LiveSession) -> None:
        """Has the session asked at the next turn, because what it waits for has changed."""
        self._schedule(live, self._clock.monotonic_ms())

    def count_by_state(self) -> dict[str, int]:
        return dict(Counter(live.state for live in self._by_id.values()))

    async def keep_time(self) -> None:
        """Turns the wheel until cancelled."""
        while True:
            due_at = self._turn_due_at = self._clock.monotonic_ms() + round(TURN_S * 1000)
            await asyncio.sleep(TURN_S)
            now_ms = self._clock.monotonic_ms()
            self._last_lag_ms = max(0, now_ms - due_at)
            self._metrics.loop_lag.observe(self._last_lag_ms / 1000)
            # After a gap nobody is to be judged by a silence that was ours.
            if self.standstill.beat(now_ms):
                self.turn(now_ms, self._clock.wall_ms())

    def lag_ms(self) -> int:
        """How late the loop was at the last turn, or is at this moment, where that is more."""
        overdue = 0 if self._turn_due_at is None else self._clock.monotonic_ms() - self._turn_due_at
        return max(self._last_lag_ms, overdue)

    def turn(self, now_ms: int, wall_ms: int) -> None:
        """Asks every session that is due."""
        for live in self._wheel.turn(now_ms):
            # An entry made before a later one is stale, else each `wake` would stay in the wheel for ever.
            if self._by_id.get(live.id) is not live or now_ms < live.asked_at:
                continue
            try:
                next_at = live.tick(now_ms, wall_ms)
            except Exception:
                # Broad: one session's failure must not stop the clock of all the others.
                logger.exception("session could not be ticked", session_id=live.id)
                next_at = now_ms + _AFTER_FAILURE_MS
            if next_at is not None:
                self._schedule(live, next_at)

    def _schedule(self, live: LiveSession, at_ms: int) -> None:
        live.asked_at = at_ms
        self._wheel.add(live, at_ms)
