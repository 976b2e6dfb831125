"""The recorder of blocks and reports: takes them from where they wait to where they are kept.

Decides order, patience and what can never be written. Refuses to know both stores. An entry is removed only after it was
written, and writing it again changes nothing: a recorder may die at any moment, several may run at once, and each block
and report is kept exactly once.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from base.errors import Unavailable
from jobs.persistence import Retries, persist
from safety.metrics import SafetyRecorderMetrics
from safety.ports import PendingEntry, PendingRecords, SafetyArchive, Written
from safety.records import Block, SafetyRecord

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SafetyPace:
    """How much at once, and how long between tries."""

    batch: int = 100
    wait_ms: int = 1_000
    """For the first entry; below the client's timeout for an answer."""
    retries: Retries = field(default_factory=Retries)


class SafetyRecorder:
    """Writes until it is cancelled; `name` is this process's alone, `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        pending: PendingRecords,
        archive: SafetyArchive,
        metrics: SafetyRecorderMetrics,
        name: str,
        jitter: Callable[[], float],
        *,
        pace: SafetyPace | None = None,
    ) -> None:
        self._pending = pending
        self._archive = archive
        self._metrics = metrics
        self._name = name
        self._jitter = jitter
        self._pace = pace or SafetyPace()
        self._taken: list[PendingEntry] = []
        """Ours, and not removed yet: kept over failures, since they come again to others only after a while."""
        self._is_tidy = False

    async def run(self) -> None:
        """Writes what waits, again and again; outages are waited out and never end it."""
        await persist("safety_recorder", self._go_on, self._pace.retries, self._jitter, self._failed)

    async def _go_on(self) -> float:
        await self.record_some()
        if not self._is_tidy:
            # Once: it is the restarts that leave names behind.
            await self._pending.tidy()
            self._is_tidy = True
        return 0.0  # it waits for the first entry itself

    async def _failed(self, _error: Exception) -> None:
        await self._show()

    async def record_some(self) -> int:
        """Writes one share of what waits, waiting for the first; answers how many entries were removed.

        Raises:
            Unavailable: a store is away; what was not removed is still there.
        """
        if not self._taken:
            self._taken = await self._pending.take(
                self._name, limit=self._pace.batch, wait_ms=self._pace.wait_ms
            )
        written = await self._write([entry.record for entry in self._taken if entry.record is not None])
        # Write first: what is removed and not written would be lost.
        await self._finish(self._taken, written)
        count, self._taken = len(self._taken), []
        await self._show()
        return count

    async def _show(self) -> None:
        """Shows how many wait, above all while none can be written; keeps the last number while Redis is away."""
        with suppress(Unavailable):
            self._metrics.pending.set(await self._pending.count())

    async def _write(self, records: Sequence[SafetyRecord]) -> Written:
        if not records:
            return Written(in_force=frozenset(), refused={})
        return await self._archive.write(records)

    async def _finish(self, entries: Sequence[PendingEntry], written: Written) -> None:
        refused: list[tuple[str, str]] = []
        done: list[str] = []
        in_force: list[Block] = []
        for entry in entries:
            record = entry.record
            if record is None:
                refused.append((entry.entry_id, "not of a known form"))
            elif record.id in written.refused:
                refused.append((entry.entry_id, written.refused[record.id]))
            else:
                done.append(entry.entry_id)
                if isinstance(record, Block) and record.id in written.in_force:
                    in_force.append(record)
        # Whoever made a block may have died half-way. Not for one that was taken back since.
        await self._pending.renew_blocks(in_force)
        await self._pending.remove(done)
        self._metrics.written.inc(len(done))
        for entry_id, reason in refused:
            log.error("safety_recorder.refused", entry_id=entry_id, reason=reason)
            await self._pending.refuse(entry_id, reason)
            self._metrics.refused.inc()
