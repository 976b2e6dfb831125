"""Deletes what has run out: sign-ins whose refresh tokens nobody can use any more, consent logs that were kept for long enough.

Decides when, in shares of what size, and that one kind that fails does not keep the others. What has run out is each
store's to say.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from base.clock import Clock
from base.errors import Unavailable
from jobs.ports import Expired

logger = structlog.get_logger(__name__)

EVERY_S: Final = 600.0
AT_ONCE: Final = 1_000


class Purge:
    """Looks every ten minutes; a large backlog goes in shares. `stores` by what is in them, for the log."""

    def __init__(self, stores: Mapping[str, Expired], clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def run(self) -> None:
        """Purges until cancelled."""
        while True:
            await self.purge_all()
            await asyncio.sleep(EVERY_S)

    async def purge_all(self) -> dict[str, int]:
        """Deletes everything that has run out by now; how much that was, by store."""
        now_ms = self._clock.wall_ms()
        return {name: await self._purge(name, store, now_ms) for name, store in self._stores.items()}

    async def _purge(self, name: str, store: Expired, now_ms: int) -> int:
        total = 0
        try:
            while purged := await store.purge_expired(now_ms, AT_ONCE):
                total += purged
        except Unavailable:
            logger.debug("purge waits for the database", what=name)
        except Exception:
            # The boundary of the task: what cannot be purged must not end the others, nor this for ever.
            logger.exception("purge failed", what=name)
        if total:
            logger.info("purged", what=name, count=total)
        return total
