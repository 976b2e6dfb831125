"""The purge: everything that ran out goes, in shares, and one kind does not wait for another."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from jobs.metrics import PurgeMetrics
from jobs.ports import Expired, Kept
from jobs.purge import AT_ONCE, EVERY_S, Purge
from tests.fixtures.waiting import until


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


class Endless(Expiring):
    """A backlog of years: a share of it takes a minute, and there is always one more."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(0)
        self._clock = clock

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        self.left += limit
        self._clock.advance(60)
        return await super().purge_expired(now_ms, limit)


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


async def test_a_backlog_of_years_does_not_keep_the_others() -> None:
    """All have their turns, and a round ends when the next one would begin: what has run out by then is no older."""
    clock, logs = ManualClock(), Expiring(2_500)
    calls = Endless(clock)
    stores: dict[Kept, Expired] = {Kept.CALLS: calls, Kept.CONSENT_LOGS: logs}
    purge = Purge(stores, clock, PurgeMetrics(CollectorRegistry()))
    began_ms = clock.now_ms

    async with asyncio.timeout(15):
        purged = await purge.purge_all()
    assert purged == {Kept.CALLS: EVERY_S / 60 * AT_ONCE, Kept.CONSENT_LOGS: 2_500}
    assert clock.now_ms - began_ms == EVERY_S * 1000


async def test_what_runs_out_while_a_backlog_goes_does_not_wait_for_its_end() -> None:
    """The next round begins at once, and asks for what has run out by then."""
    clock, logs = ManualClock(), Expiring(0)
    stores: dict[Kept, Expired] = {Kept.CALLS: Endless(clock), Kept.CONSENT_LOGS: logs}
    running = asyncio.create_task(Purge(stores, clock, PurgeMetrics(CollectorRegistry())).run())
    try:
        await until(lambda: len({now_ms for now_ms, _ in logs.asked}) > 1)
        logs.left = 7
        await until(lambda: not logs.left)
    finally:
        running.cancel()
        await asyncio.wait([running])
