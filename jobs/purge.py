"""Deletes what was kept for long enough: sign-ins whose refresh tokens nobody can use any more, consent logs, and the like.

Decides when, in shares of what size and at what pace, and that one kind that fails does not keep the others. What has
run out is each store's to say.
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
            await self.purge_all()
            await asyncio.sleep(EVERY_S)

    async def purge_all(self) -> dict[Kept, int]:
        """Deletes everything that has run out by now; how much that was, by what it is."""
        now_ms = self._clock.wall_ms()
        return {what: await self._purge(what, store, now_ms) for what, store in self._stores.items()}

    async def _purge(self, what: Kept, store: Expired, now_ms: int) -> int:
        total = 0

        async def share_by_share() -> None:
            nonlocal total
            while purged := await self._share(what, store, now_ms):
                total += purged

        # What cannot be purged must not keep the others.
        if not await attempt(share_by_share, "purge failed", what=what):
            self._metrics.failures.labels(what).inc()
        if total:
            logger.info("purged", what=what, count=total)
        return total

    async def _share(self, what: Kept, store: Expired, now_ms: int) -> int:
        began = time.perf_counter()
        purged = await store.purge_expired(now_ms, AT_ONCE)
        took_s = time.perf_counter() - began
        if purged:
            self._metrics.purged.labels(what).inc(purged)
            self._metrics.share_seconds.labels(what).observe(took_s)
            # The database has people to serve beside a backlog of years.
            await asyncio.sleep(took_s)
        return purged
