"""Deletes what was kept for long enough: sign-ins whose refresh tokens nobody can use any more, consent logs, and the like.

Decides when, in shares of what size and at what pace, and that one kind that fails, or has a backlog of years, does not
keep the others. What has run out is each store's to say.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from base.clock import Clock
from base.rounds import attempt
from jobs.metrics import PurgeMetrics
from jobs.ports import Expired, Kept

logger = structlog.get_logger(__name__)

EVERY_S: Final = 600.0
AT_ONCE: Final = 1_000


class Purge:
    """Looks every ten minutes; a large backlog goes in shares, with as much of a pause after each as it took."""

    def __init__(self, stores: Mapping[Kept, Expired], clock: Clock, metrics: PurgeMetrics) -> None:
        self._stores = stores
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Purges until cancelled."""
        while True:
            began_ms = self._clock.monotonic_ms()
            await self.purge_all()
            took_s = (self._clock.monotonic_ms() - began_ms) / 1000
            # At once where there is more: what has run out meanwhile must not wait for the end of a backlog.
            await asyncio.sleep(max(0.0, EVERY_S - took_s))

    async def purge_all(self) -> dict[Kept, int]:
        """Deletes what has run out by now, a share of each kind by turns, for as long as a round lasts; how much that was."""
        now_ms, until_ms = self._clock.wall_ms(), self._clock.monotonic_ms() + EVERY_S * 1000
        total = dict.fromkeys(self._stores, 0)
        left = dict(self._stores)
        while self._clock.monotonic_ms() < until_ms:
            # Each again while any has something: what goes after something else follows it.
            shares = {what: await self._share(what, store, now_ms) for what, store in left.items()}
            for what, purged in shares.items():
                if purged is None:
                    del left[what]
                else:
                    total[what] += purged
            if not any(shares.values()):
                break
        for what, purged in total.items():
            if purged:
                logger.info("purged", what=what, count=purged)
        return total

    async def _share(self, what: Kept, store: Expired, now_ms: int) -> int | None:
        """How much was deleted; None where it failed."""
        purged = 0

        async def delete() -> None:
            nonlocal purged
            purged = await store.purge_expired(now_ms, AT_ONCE)

        began = time.perf_counter()
        # What cannot be purged must not keep the others.
        if not await attempt(delete, "purge failed", what=what):
            self._metrics.failures.labels(what).inc()
            return None
        took_s = time.perf_counter() - began
        if purged:
            self._metrics.purged.labels(what).inc(purged)
            self._metrics.share_seconds.labels(what).observe(took_s)
            # The database has people to serve beside a backlog of years.
            await asyncio.sleep(took_s)
        return purged
