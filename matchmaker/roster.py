"""The roster: which matchmakers stand for which pools, and so which pools are this one's.

A matchmaker stands for a pool while it really tries to serve it: one that is configured for other intents, or whose
worker hangs, is nobody to leave the pool to. Decides when a pool should change hands: never for a moment's reason, since
whoever takes it has to learn it anew.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from base.clock import Clock
from base.errors import Unavailable
from matchmaker.queue_store import QueueStore
from matchmaker.spread import spread

ENROL_S: Final = 0.5
MEMBER_MS: Final = 2_000
STEADY_MS: Final = 3_000
TRIED_MS: Final = 5_000
"""A worker tries more often than that, also when it pauses after failures."""

logger = structlog.get_logger(__name__)


class Roster:
    """What one matchmaker knows of the others."""

    def __init__(self, member: str, pools: Iterable[str], queues: QueueStore, clock: Clock) -> None:
        self.member = member
        self._queues = queues
        self._clock = clock
        self._tried = dict.fromkeys(pools, clock.monotonic_ms())
        self._standing: dict[str, frozenset[str]] = {}
        self._spread: dict[str, str] = {}
        self._next: dict[str, str] = {}
        # By pool that is another's, since when.
        self._others: dict[str, int] = {}

    async def run(self) -> None:
        """Stays on the roster until cancelled."""
        try:
            while True:
                try:
                    self._know(await self._queues.enrol(self.member, self._stands_for(), ttl_ms=MEMBER_MS))
                except Unavailable:
                    logger.debug("roster could not be read")
                await asyncio.sleep(ENROL_S)
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(1):
                    await self._queues.enrol(self.member, list(self._tried), ttl_ms=0)

    def tries(self, pool: str) -> None:
        """Notes that this matchmaker serves a pool now, or looks whether it may."""
        self._tried[pool] = self._clock.monotonic_ms()

    def is_mine(self, pool: str) -> bool:
        """Whether this matchmaker is the one to serve a pool, as far as it knows."""
        return self._spread.get(pool, self.member) == self.member

    def is_next(self, pool: str) -> bool:
        """Whether this matchmaker is to serve a pool, or would be if the one who is were gone."""
        return self.is_mine(pool) or self._next.get(pool) == self.member

    def should_give_up(self, pool: str) -> bool:
        """Whether another has been the one to serve a pool for long enough."""
        since_ms = self._others.get(pool)
        return since_ms is not None and self._clock.monotonic_ms() - since_ms >= STEADY_MS

    def _stands_for(self) -> list[str]:
        now_ms = self._clock.monotonic_ms()
        return [pool for pool, tried_ms in self._tried.items() if now_ms - tried_ms < TRIED_MS]

    def _know(self, standing: Mapping[str, Collection[str]]) -> None:
        known = {pool: frozenset(members) for pool, members in standing.items()}
        if known == self._standing:
            return
        self._standing, self._spread = known, spread(known)
        self._next = {
            pool: spread(_without(known, member)).get(pool, "") for pool, member in self._spread.items()
        }
        mine = sorted(pool for pool in self._tried if self.is_mine(pool))
        now_ms = self._clock.monotonic_ms()
        self._others = {pool: self._others.get(pool, now_ms) for pool in self._tried if pool not in mine}
        members = len(frozenset().union(*known.values()))
        logger.info("matchmakers changed", members=members, mine=mine)


def _without(standing: Mapping[str, frozenset[str]], member: str) -> dict[str, frozenset[str]]:
    return {pool: members - {member} for pool, members in standing.items()}
