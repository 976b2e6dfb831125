"""Deletes what has run out: sign-ins whose refresh tokens nobody can use any more."""

import asyncio
from typing import Final, Protocol

import structlog

from base.clock import Clock
from base.errors import Unavailable

logger = structlog.get_logger(__name__)

EVERY_S: Final = 600.0
AT_ONCE: Final = 1_000


class ExpiredSignIns(Protocol):
    """Raises Unavailable."""

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Deletes at most `limit`; how many went."""
        ...


class Purge:
    """Looks every ten minutes; a large backlog goes in shares."""

    def __init__(self, store: ExpiredSignIns, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Purges until cancelled."""
        while True:
            try:
                purged = await self.purge_all()
                if purged:
                    logger.info("expired sign-ins purged", count=purged)
            except Unavailable:
                logger.debug("purge waits for the database")
            except Exception:
                logger.exception("purge failed")
            await asyncio.sleep(EVERY_S)

    async def purge_all(self) -> int:
        """Deletes everything that has run out by now; how much that was. Raises: Unavailable."""
        now_ms, total = self._clock.wall_ms(), 0
        while purged := await self._store.purge_expired(now_ms, AT_ONCE):
            total += purged
        return total
