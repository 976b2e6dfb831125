"""The recorder: takes ended calls from where they wait to where they are kept.

Decides order, batches, patience and when a call is set aside; refuses to know both stores. A call leaves the list of
waiting ones only after it was written, and only if it did not change meanwhile; writing it again changes nothing. So a
recorder may die at any moment, several may run at once, and history has each call exactly once.

A call that history refuses, or whose record cannot be read, must not hold up the others: it is set aside, stays on the
list, and is tried again every few minutes and after each restart.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from base.clock import Clock
from base.errors import Unavailable
from base.ids import CallId
from jobs.metrics import RecorderMetrics
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
    first_retry_s: float = 0.5
    last_retry_s: float = 10.0
    """Retries wait twice as long each time, from the first bound to the last, less up to half at random."""
    set_aside_s: float = 300.0

    def retry_s(self, failures: int, jitter: float) -> float:
        """How long to wait after this many failures in a row; `jitter` is from 0 to 1."""
        longest = min(self.last_retry_s, self.first_retry_s * 2.0 ** min(failures - 1, 20))
        # Jittered: several recorders must not come back all at once.
        return longest * (1 - jitter / 2)


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
        failures = 0
        this = asyncio.current_task()
        while True:
            try:
                # Nothing came off the list: empty, or only calls that others took or changed. Not at once again.
                pause_s = 0.0 if await self.record_waiting() else self._pace.idle_s
            except Unavailable as error:
                failures += 1
                pause_s = self._pace.retry_s(failures, self._jitter())
                log.warning("recorder.waits", error=str(error), failures=failures, retry_s=round(pause_s, 2))
            except Exception:
                # The boundary of the task: one bug must not stop history for ever.
                failures += 1
                pause_s = self._pace.retry_s(failures, self._jitter())
                self._metrics.failures.labels("internal").inc()
                log.exception("recorder.failed", failures=failures, retry_s=round(pause_s, 2))
            else:
                if failures:
                    log.info("recorder.goes_on", failures=failures)
                failures = 0
            if this is not None and this.cancelling():
                # Swallowed on the way: before Python 3.12 `asyncio.wait_for` can do that, and the Redis client sends
                # with it. The task would go on for ever, and so would whoever waits for its end.
                raise asyncio.CancelledError
            await asyncio.sleep(pause_s)

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
