"""Visits in memory, by the same rules as in Redis."""

from collections.abc import Callable, Mapping, Sequence

from base.ids import CallId
from jobs.ports import Visit, Visits


class MemoryTurnVisits:
    """`now` gives Unix ms."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._next: dict[Visit, int] = {}

    def add(self, call_id: CallId, *after_ms: int) -> None:
        """What a commit leaves behind that ends a call's media."""
        for after in after_ms:
            due_at = self._now() + after
            self._next[Visit(call_id, due_at)] = due_at

    def __len__(self) -> int:
        return len(self._next)

    async def take(self, *, limit: int, lease_ms: int) -> Visits:
        now_ms = self._now()
        due = sorted(
            (at, visit.due_at, visit.call_id, visit) for visit, at in self._next.items() if at <= now_ms
        )
        taken = [visit for *_, visit in due[:limit]]
        for visit in taken:
            self._next[visit] = now_ms + lease_ms
        return Visits(sorted(taken, key=lambda visit: visit.due_at), now_ms)

    async def done(self, visits: Sequence[Visit]) -> None:
        for visit in visits:
            self._next.pop(visit, None)

    async def postpone(self, visits: Mapping[Visit, int]) -> None:
        self._next.update({visit: at for visit, at in visits.items() if visit in self._next})
