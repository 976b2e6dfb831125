"""Timers of the calls on this node: one heap, one timer of the event loop.

Decides only when; what falls due is up to the call. A call is scheduled anew whenever its earliest timer changes,
and an entry that no longer names that time is dropped unseen.
"""

import asyncio
import heapq
from collections.abc import Callable

from base.clock import ServerClock
from base.ids import CallId

# Entries of past schedules stay in the heap until their time: above this share of them it is built anew.
_STALE_FACTOR = 4
# The clock is the store's, and another machine's after a failover: what falls due by its jump fires within this time.
_LONGEST_SLEEP_MS = 500


class Deadlines:
    """The earliest timer of each call, Unix milliseconds on the injected clock."""

    def __init__(self, clock: ServerClock, fire: Callable[[CallId], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due_at: dict[CallId, int] = {}
        self._heap: list[tuple[int, CallId]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due_at)

    def schedule(self, call_id: CallId, at_ms: int | None) -> None:
        """Fires the call at `at_ms`, and no longer at what was scheduled before; None for never."""
        if at_ms is None:
            self._due_at.pop(call_id, None)
            return
        if self._due_at.get(call_id) == at_ms:
            return
        self._due_at[call_id] = at_ms
        heapq.heappush(self._heap, (at_ms, call_id))
        if len(self._heap) > _STALE_FACTOR * len(self._due_at) + 64:
            self._heap = [(at, call) for call, at in self._due_at.items()]
            heapq.heapify(self._heap)
        if self._heap[0] == (at_ms, call_id):
            self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_at.clear()
        self._heap.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            wait_ms = max(0, min(self._heap[0][0] - self._clock.now_ms(), _LONGEST_SLEEP_MS))
            # A millisecond more, because the clock may have been cut down to whole ones.
            self._timer = asyncio.get_running_loop().call_later((wait_ms + 1) / 1000, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_ms = self._clock.now_ms()
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, call_id = heapq.heappop(self._heap)
            if self._due_at.get(call_id) == at_ms:
                del self._due_at[call_id]
                self._fire(call_id)
        self._arm()
