"""The purge: everything that ran out goes, in shares, and one kind does not wait for another."""

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from jobs.metrics import PurgeMetrics
from jobs.ports import Expired, Kept
from jobs.purge import AT_ONCE, Purge


class Expiring:
    """A store with so much in it that has run out."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.asked: list[tuple[int, int]] = []

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        self.asked.append((now_ms, limit))
        gone = min(limit, self.left)
        self.left -= gone
        return gone


class Failing:
    """A store that cannot."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        raise self._error


async def test_a_backlog_goes_in_shares_until_nothing_is_left() -> None:
    """Each share is bounded, and all are of the same moment."""
    clock, store, registry = ManualClock(), Expiring(2_500), CollectorRegistry()
    metrics = PurgeMetrics(registry)

    assert await Purge({Kept.SIGN_INS: store}, clock, metrics).purge_all() == {Kept.SIGN_INS: 2_500}

    assert store.left == 0
    assert store.asked == [(clock.now_ms, AT_ONCE)] * 4
    assert registry.get_sample_value("minuet_purged_total", {"what": "sign_ins"}) == 2_500
    assert registry.get_sample_value("minuet_purge_share_seconds_count", {"what": "sign_ins"}) == 3


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
async def test_what_cannot_be_purged_does_not_keep_the_others(error: Exception) -> None:
    """It comes again with the next look."""
    store, registry = Expiring(3), CollectorRegistry()
    stores: dict[Kept, Expired] = {Kept.SIGN_INS: Failing(error), Kept.CONSENT_LOGS: store}
    purge = Purge(stores, ManualClock(), PurgeMetrics(registry))

    assert await purge.purge_all() == {Kept.SIGN_INS: 0, Kept.CONSENT_LOGS: 3}
    assert registry.get_sample_value("minuet_purge_failures_total", {"what": "sign_ins"}) == 1
    assert registry.get_sample_value("minuet_purge_failures_total", {"what": "consent_logs"}) == 0
