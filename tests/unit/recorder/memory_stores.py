"""The recorder's two stores in memory, with the failures that a test wants. They pass the contract suites."""

from collections.abc import Callable, Collection, Sequence

from base.errors import Unavailable
from base.ids import CallId, ConnectionId
from jobs.ports import Loaded, Recorded, Refused, Waiting, WaitingCall
from signaling.call.record import Call
from signaling.ports import StoredCall

SHARE = 50


class MemoryEndedCalls:
    """Ended calls that wait. `records` holds None for a record that nobody can read."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._revs = 0
        self.since: dict[CallId, int] = {}
        self.records: dict[CallId, StoredCall | None] = {}
        self.away = False

    def end(self, call: Call) -> None:
        """Puts a call on the list, or new facts of one that is there or was."""
        self._revs += 1
        self.records[call.call_id] = StoredCall(call, f"rev-{self._revs}")
        self.since.setdefault(call.call_id, self._now_ms())

    def lose(self, call_id: CallId) -> None:
        del self.records[call_id]

    def spoil(self, call_id: CallId) -> None:
        self.records[call_id] = None

    async def waiting(self, *, passing_over: Collection[CallId]) -> Waiting:
        self._answer()
        in_order = sorted(self.since.items(), key=lambda entry: (entry[1], entry[0]))
        calls = [WaitingCall(call_id, since) for call_id, since in in_order if call_id not in passing_over]
        return Waiting(calls[:SHARE], len(self.since), self._now_ms())

    async def load(self, call_ids: Sequence[CallId]) -> Loaded:
        self._answer()
        here = [call_id for call_id in call_ids if call_id in self.since]
        lost = [call_id for call_id in here if call_id not in self.records]
        found = {call_id: self.records[call_id] for call_id in here if call_id in self.records}
        return Loaded(
            calls=[stored for stored in found.values() if stored is not None],
            lost=lost,
            unreadable=[call_id for call_id, stored in found.items() if stored is None],
        )

    async def release(self, recorded: Sequence[StoredCall]) -> int:
        self._answer()
        released = 0
        for stored in recorded:
            if self.records.get(stored.call.call_id) == stored:
                released += self.since.pop(stored.call.call_id, None) is not None
        return released

    async def forget(self, lost: Sequence[CallId]) -> None:
        self._answer()
        for call_id in lost:
            if call_id not in self.records:
                self.since.pop(call_id, None)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the list is away")


class MemoryArchive:
    """Calls that are kept. Refuses those in `refused`; fails as often as `failures` says, with its errors."""

    def __init__(self) -> None:
        self.calls: dict[CallId, Call] = {}
        self.refused: set[CallId] = set()
        self.failures: list[Exception] = []
        self.attempts: list[list[CallId]] = []
        self.after_write: Callable[[], None] = lambda: None
        self.apart: list[set[CallId]] = []
        self.news: tuple[ConnectionId, ...] = ()

    async def record(self, calls: Sequence[Call], *, apart: Collection[CallId] = ()) -> Recorded:
        self.attempts.append([call.call_id for call in calls])
        self.apart.append(set(apart))
        if self.failures:
            raise self.failures.pop(0)
        for call in calls:
            if call.call_id in self.refused or call.ended_at is None:
                raise Refused("a constraint")
        known = {call.call_id: self.calls[call.call_id] for call in calls if call.call_id in self.calls}
        written = [
            call for call in calls if call.call_id not in known or call.version > known[call.call_id].version
        ]
        self.calls.update({call.call_id: call for call in written})
        self.after_write()
        updated = sum(call.call_id in known for call in written)
        return Recorded(new=len(written) - updated, updated=updated, news=self.news)
