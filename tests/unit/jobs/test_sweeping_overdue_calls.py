"""What the sweep does for calls, whatever becomes of one of them."""

from base.errors import ErrorCode, MinuetError
from base.ids import CallId
from jobs.sweep import Sweep

OF_ANOTHER_RELEASE, REFUSED, FIRST, SECOND = map(CallId, ("unreadable", "refused", "first", "second"))


class Overdue:
    """Calls whose timers nobody has fired, the longest overdue first; some cannot be swept."""

    def __init__(self, *call_ids: CallId) -> None:
        self.waiting = list(call_ids)
        self.looks = 0

    async def due(self, *, overdue_ms: int, limit: int) -> list[CallId]:
        self.looks += 1
        return self.waiting[:limit]

    async def sweep(self, call_id: CallId) -> None:
        if call_id == OF_ANOTHER_RELEASE:
            raise ValueError("not a record of this release")
        if call_id == REFUSED:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        self.waiting.remove(call_id)


class NothingUntold:
    async def sweep(self, limit: int) -> int:
        return 0


async def test_a_call_that_nobody_can_read_keeps_no_other_from_being_swept() -> None:
    """It stays the longest overdue of all, so it comes first each time."""
    calls = Overdue(OF_ANOTHER_RELEASE, REFUSED, FIRST, SECOND)
    sweep = Sweep(calls, calls, NothingUntold())
    swept = [await sweep.sweep_once() for _ in range(2)]

    assert swept == [4, 2]
    assert calls.waiting == [OF_ANOTHER_RELEASE, REFUSED]
