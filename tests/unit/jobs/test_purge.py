"""The purge: everything that ran out goes, in shares."""

from base.clock import ManualClock
from jobs.purge import AT_ONCE, Purge


class Expired:
    """A store with so many expired sign-ins."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.asked: list[tuple[int, int]] = []

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        self.asked.append((now_ms, limit))
        gone = min(limit, self.left)
        self.left -= gone
        return gone


async def test_a_backlog_goes_in_shares_until_nothing_is_left() -> None:
    """Each share is bounded, and all are of the same moment."""
    clock, store = ManualClock(), Expired(2_500)

    assert await Purge(store, clock).purge_all() == 2_500

    assert store.left == 0
    assert store.asked == [(clock.now_ms, AT_ONCE)] * 4
