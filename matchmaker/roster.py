"""The roster: which matchmakers there are, and so which pools are this one's.

Decides when a pool should change hands: never for a moment's reason, since whoever takes it has to learn it anew.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import structlog

from base.clock import Clock
from base.errors import Unavailable
from matchmaker.ports import QueueStore
from matchmaker.spread import spread

ENROL_S: Final = 0.5
MEMBER_MS: Final = 2_000
STEADY_MS: Final = 3_000

logger = structlog.get_logger(__name__)


class Roster:
    """What one matchmaker knows of the others."""

    def __init__(self, member: str, pools: Iterable[str], queues: QueueStore, clock: Clock) -> None:
        self.member = member
        self._pools = tuple(pools)
        self._queues = queues
        self._clock = clock
        self._members: frozenset[str] = frozenset((member,))
        self._spread = spread(self._pools, self._members)
        self._since_ms = clock.monotonic_ms()

    async def run(self) -> None:
        """Stays on the roster until cancelled."""
        try:
            while True:
                try:
                    self._know(await self._queues.enrol(self.member, ttl_ms=MEMBER_MS))
                except Unavailable:
                    logger.debug("roster could not be read")
                await asyncio.sleep(ENROL_S)
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(1):
                    await self._queues.enrol(self.member, ttl_ms=0)

    def is_mine(self, pool: str) -> bool:
        """Whether this matchmaker is the one to serve a pool, as far as it knows."""
        return self._spread.get(pool, self.member) == self.member

    def should_give_up(self, pool: str) -> bool:
        """Whether another has been the one to serve a pool for long enough."""
        return not self.is_mine(pool) and self._clock.monotonic_ms() - self._since_ms >= STEADY_MS

    def _know(self, members: Iterable[str]) -> None:
        known = frozenset(members)
        if known != self._members:
            self._members, self._since_ms = known, self._clock.monotonic_ms()
            self._spread = spread(self._pools, known)
            mine = sorted(pool for pool in self._pools if self.is_mine(pool))
            logger.info("matchmakers changed", members=len(known), mine=mine)
