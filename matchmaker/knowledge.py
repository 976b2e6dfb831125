"""Knowledge: what a worker knows of a pool, and up to which of its events.

Whoever owns a pool, or is about to, learns it here: finds what stands in it, and lets those be found who wait longest
first. Only reads, so that it may begin before the lease is had. What the owner before claimed meanwhile is told by no
event; `look_again` finds it out.
"""

import asyncio
from collections.abc import Iterator, Sequence
from heapq import merge

import structlog

from base.clock import Clock
from base.ids import TicketId
from base.policy import IntentPolicy
from matchmaker.bitsets import BitsetIndex
from matchmaker.pairing import Pair
from matchmaker.pools import Arrived, Departed, Lease, Paused, PoolEvent, StoredTicket, TicketState, ticket_of
from matchmaker.queue_store import QueueStore
from matchmaker.room import WaitingRoom
from matchmaker.scoring import rules_of

_LEARNT_BETWEEN_BREATHS = 32
_SORTED_BETWEEN_BREATHS = 512
_RETRIED_FIRST = 32
_LOOKED_AT_AGAIN = 500
# No worker's: what it asks for changes nothing.
_NO_TOKEN = ""

logger = structlog.get_logger(__name__)


class EventsMissed(Exception):
    """The pool's events have a gap: what is known of it is not what it is."""


class Knowledge:
    """One pool, as one worker knows it."""

    def __init__(self, pool: str, policy: IntentPolicy, queues: QueueStore, clock: Clock) -> None:
        self._pool = pool
        self._queues = queues
        self._clock = clock
        self._clock_ahead_ms = 0
        rules = rules_of(policy)
        self.tiers = len(rules.tiers)
        self.room = WaitingRoom(policy, rules, BitsetIndex(rules.tiers))
        self.cursor = ""
        self.number = 0
        """Of the last event that was heard."""
        self.is_found = asyncio.Event()
        """What stands in the pool is read; it is not all in the room yet."""
        self._news: set[TicketId] | None = set()
        """Of which tickets something was heard while others tell how they stand."""
        self._newcomers: list[TicketId] = []
        self._began_ms = clock.monotonic_ms()

    # --- the time ------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The time on the store's clock, Unix ms."""
        return self._clock.monotonic_ms() + self._clock_ahead_ms

    def set_clock(self, lease: Lease) -> None:
        """Takes the time from an answer that has just come."""
        self._clock_ahead_ms = lease.now_ms - self._clock.monotonic_ms()

    # --- learning ------------------------------------------------------------------------------------------------

    async def learn(self, lease: Lease | None = None) -> None:
        """Learns the pool as it stands, and expects its events since the lease was taken, or since now without one.

        Whatever is heard of the pool beside this is newer. Raises: Unavailable.
        """
        end = lease or await self._queues.keep_lease(self._pool, _NO_TOKEN, ttl_ms=1)
        self.cursor, self.number = end.cursor, end.number
        if lease is None:
            self.set_clock(end)
        stored = await self._find()
        self.is_found.set()
        found_ms = self._clock.monotonic_ms()
        # Whoever arrives while a large pool is learnt meets those who have waited longest first.
        for count, each in enumerate(await _by_seniority(stored), start=1):
            self._learn_one(each)
            if count >= _RETRIED_FIRST and count.bit_count() == 1:
                # Who came meanwhile, and found nobody among the few that were known then, meets those known now.
                self.room.try_again(self._newcomers)
            if count % _LEARNT_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)
        self._news = None
        self._newcomers.clear()
        # Not before: somebody who waited longer might be passed over for whoever is known already.
        self.room.learnt()
        logger.info(
            "pool rebuilt",
            pool=self._pool,
            tickets=len(stored),
            found_in_ms=found_ms - self._began_ms,
            known_in_ms=self._clock.monotonic_ms() - self._began_ms,
        )

    async def _find(self) -> list[StoredTicket]:
        found: dict[TicketId, StoredTicket] = {}
        async for part in self._queues.scan_in_parts(self._pool):
            for each in part:
                # At once, while it is near: a ticket as it is read takes many times the memory.
                ticket = self.room.packed(each.ticket)
                found[ticket.ticket_id] = StoredTicket(ticket, each.state, each.paused_at)
            # Whoever learns a large pool has a lease to renew meanwhile, or other pools to serve.
            await asyncio.sleep(0)
        return list(found.values())

    def _learn_one(self, stored: StoredTicket) -> None:
        ticket = stored.ticket
        if self._news is not None and ticket.ticket_id in self._news:
            return
        if stored.state is TicketState.WAITING:
            self.room.learn(ticket, self.now_ms())
        elif stored.state is TicketState.PAUSED:
            self.room.hear(self.number, Paused(ticket.ticket_id, stored.paused_at), self.now_ms())

    def hear(self, number: int, event: PoolEvent) -> Pair | None:
        """Takes note of the next event; the pair that it makes possible, if any.

        Raises:
            EventsMissed: it is not the next one.
        """
        if number != self.number + 1:
            raise EventsMissed(f"event {number} follows {self.number}")
        self.number = number
        if self._news is not None:
            self._news.add(ticket_of(event))
            if isinstance(event, Arrived):
                self._newcomers.append(event.ticket.ticket_id)
        return self.room.hear(number, event, self.now_ms())

    async def look_again(self) -> None:
        """Forgets those who were claimed by another owner after they were found here; there is another no more.

        All that happened while there was has to be heard already. Raises: Unavailable.
        """
        waiting = self.room.tickets()
        gone = 0
        for start in range(0, len(waiting), _LOOKED_AT_AGAIN):
            some = waiting[start : start + _LOOKED_AT_AGAIN]
            news: set[TicketId] = set()
            self._news = news
            states = await self._queues.states(self._pool, some)
            for ticket_id, state in zip(some, states, strict=True):
                if state not in (TicketState.WAITING, TicketState.PAUSED) and ticket_id not in news:
                    self.room.hear(self.number, Departed(ticket_id), self.now_ms())
                    gone += 1
        self._news = None
        self._newcomers.clear()
        logger.info("pool looked at again", pool=self._pool, tickets=len(waiting), gone=gone)


async def _by_seniority(stored: Sequence[StoredTicket]) -> Iterator[StoredTicket]:
    """Those who wait longest first. Sorted by and by: one sort of a large pool would keep all else waiting."""
    runs = []
    for start in range(0, len(stored), _SORTED_BETWEEN_BREATHS):
        runs.append(sorted(stored[start : start + _SORTED_BETWEEN_BREATHS], key=_seniority))
        await asyncio.sleep(0)
    return merge(*runs, key=_seniority)


def _seniority(stored: StoredTicket) -> tuple[int, str]:
    return stored.ticket.seniority
