"""The recorder: takes ended calls from where they wait to where they are kept.

Decides order, batches, patience and when a call is set aside; refuses to know both stores. A call leaves the list of
waiting ones only after it was written, and only if it did not change meanwhile; writing it again changes nothing. So a
recorder may die at any moment, several may run at once, and history has each call exactly once.

A call that history refuses, or whose record cannot be read, must not hold up the others: it is set aside, stays on the
list, and is tried again every few minutes and after each restart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from base.clock import Clock
from base.errors import Unavailable
from base.ids import CallId
from jobs.metrics import RecorderMetrics
from jobs.persistence import Retries, persist
from jobs.ports import CallArchive, EndedCalls, Loaded, RecordedConnections, Refused, Waiting, WaitingCall
from signaling.ports import StoredCall

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how long between tries."""

    batch: int = 100
    """Calls in one transaction."""
    idle_s: float = 0.5
    """Between looks at an empty list."""
    retries: Retries = field(default_factory=Retries)
    set_aside_s: float = 300.0


class Recorder:
    """Writes ended calls to history until it is cancelled; `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        ended: EndedCalls,
        archive: CallArchive,
        metrics: RecorderMetrics,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        connections: RecordedConnections | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._ended = ended
        self._connections = connections
        self._archive = archive
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._pace = pace or Pace()
        self._aside: dict[CallId, int] = {}
        """Until when (monotonic ms) a call is passed over."""

    async def run(self) -> None:
        """Records what waits, again and again; outages are waited out and never end it."""
        await persist("recorder", self._record_some, self._pace.retries, self._jitter, self._failed)

    async def _record_some(self) -> float:
        # Nothing came off the list: empty, or only calls that others took or changed. Not at once again.
        return 0.0 if await self.record_waiting() else self._pace.idle_s

    async def _failed(self, error: Exception) -> None:
        if not isinstance(error, Unavailable):
            self._metrics.failures.labels("internal").inc()

    async def record_waiting(self) -> int:
        """Records one share of what waits; answers how many calls came off the list.

        Raises:
            Unavailable: a store is away; what was not released stays on the list.
        """
        now = self._clock.monotonic_ms()
        self._aside = {call_id: until for call_id, until in self._aside.items() if until > now}
        with self._metrics.counting("redis", Unavailable):
            waiting = await self._ended.waiting(passing_over=self._aside.keys())
        self._show(waiting)
        released = 0
        for start in range(0, len(waiting.calls), self._pace.batch):
            batch = waiting.calls[start : start + self._pace.batch]
            with self._metrics.batch_seconds.time():
                released += await self._record_batch(batch)
            self._metrics.backlog.set(waiting.total - released)
        return released

    async def _record_batch(self, batch: Sequence[WaitingCall]) -> int:
        with self._metrics.counting("redis", Unavailable):
            loaded = await self._ended.load([call.call_id for call in batch])
        written = await self._write(loaded.calls) if loaded.calls else []
        # Write first: a call that is off the list and not in history would be lost.
        with self._metrics.counting("redis", Unavailable):
            released = await self._ended.release(written) if written else 0
            await self._give_up(loaded)
        return released

    async def _write(self, stored: Sequence[StoredCall]) -> list[StoredCall]:
        """Those that are in history now; the others are set aside."""
        calls = [one.call for one in stored]
        # Asked before writing: a block that the archive does not know yet is known there since it was made.
        with self._metrics.counting("redis", Unavailable):
            apart = () if self._connections is None else await self._connections.apart(calls)
        try:
            with self._metrics.counting("database", Unavailable):
                recorded = await self._archive.record(calls, apart=apart)
        except Refused as refusal:
            if len(stored) > 1:
                # Halves, to find the one that is refused in few transactions and keep the others together.
                middle = len(stored) // 2
                return [*await self._write(stored[:middle]), *await self._write(stored[middle:])]
            self._set_aside(stored[0].call.call_id, "refused", str(refusal))
            return []
        self._metrics.recorded.labels("new").inc(recorded.new)
        self._metrics.recorded.labels("updated").inc(recorded.updated)
        if recorded.news and self._connections is not None:
            await self._connections.tell(recorded.news)
        return list(stored)

    async def _give_up(self, loaded: Loaded) -> None:
        for call_id in loaded.unreadable:
            self._set_aside(call_id, "unreadable", "the record is not of a known form")
        for call_id in loaded.lost:
            self._metrics.failures.labels("lost").inc()
            log.error("recorder.call_lost", call_id=call_id)
        if loaded.lost:
            await self._ended.forget(loaded.lost)

    def _set_aside(self, call_id: CallId, cause: str, why: str) -> None:
        self._aside[call_id] = self._clock.monotonic_ms() + round(self._pace.set_aside_s * 1000)
        self._metrics.set_aside.set(len(self._aside))
        self._metrics.failures.labels(cause).inc()
        log.error("recorder.call_set_aside", call_id=call_id, cause=cause, why=why)

    def _show(self, waiting: Waiting) -> None:
        oldest = waiting.calls[0].since_at if waiting.calls else waiting.now_ms
        self._metrics.backlog.set(waiting.total)
        self._metrics.lag_seconds.set(max(0, waiting.now_ms - oldest) / 1000)
        self._metrics.set_aside.set(len(self._aside))
