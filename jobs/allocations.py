"""Ends what calls hold at the TURN servers once their media is over.

Decides the order, and patience with servers that do not answer. A credential that expires does not end what was
allocated with it, and a client can go on refreshing for ever: it is the server's command that ends it.

When a call's media ends, the same commit leaves its visits behind: one due at once, one some seconds later (an
allocation may have been under way), one when no credential of the call can make another. Each stays until every TURN
server has said that it holds nothing of the call; it is taken with a lease, so that it comes back when a worker dies
over it, and repeating it changes nothing. Given up only after a server has not answered for a long time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from base.ids import CallId
from jobs.metrics import AllocationMetrics
from jobs.persistence import Retries, persist
from jobs.ports import TurnAdmin, TurnUnavailable, TurnVisits, Visit

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VisitPace:
    """How much at once, and how long between tries."""

    batch: int = 50
    idle_s: float = 0.5
    """Between looks at an empty list."""
    lease_s: float = 30.0
    patience_s: float = 20.0
    """For one server and one batch; below the lease."""
    first_retry_s: float = 1.0
    last_retry_s: float = 30.0
    """A visit that failed waits half as long again as it is overdue, within these bounds, less up to a half at random."""
    give_up_s: float = 900.0
    """A server that was away for so long has most likely lost its allocations with its memory."""


class AllocationEnder:
    """Visits until it is cancelled; `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        visits: TurnVisits,
        servers: Sequence[TurnAdmin],
        metrics: AllocationMetrics,
        jitter: Callable[[], float],
        *,
        pace: VisitPace | None = None,
    ) -> None:
        self._visits = visits
        self._servers = servers
        self._metrics = metrics
        self._jitter = jitter
        self._pace = pace or VisitPace()

    async def run(self) -> None:
        """Visits what is due, again and again; outages are waited out and never end it."""
        retries = Retries(self._pace.first_retry_s, self._pace.last_retry_s)
        await persist("allocations", self._visit_some, retries, self._jitter)

    async def _visit_some(self) -> float:
        # A full share: there may be more.
        return 0.0 if await self.visit_due() == self._pace.batch else self._pace.idle_s

    async def visit_due(self) -> int:
        """Makes one share of what is due; answers how many visits were taken. Raises: Unavailable."""
        taken = await self._visits.take(limit=self._pace.batch, lease_ms=round(self._pace.lease_s * 1000))
        if not taken.due:
            self._metrics.lag_seconds.set(0)
            return 0
        self._metrics.lag_seconds.set(max(0, taken.now_ms - taken.due[0].due_at) / 1000)
        # The same call may be due twice, after an outage.
        call_ids = list(dict.fromkeys(visit.call_id for visit in taken.due))
        outcomes = await asyncio.gather(*(self._end_at(server, call_ids) for server in self._servers))
        if all(outcomes):
            await self._visits.done(taken.due)
            self._metrics.visits.labels("done").inc(len(taken.due))
        else:
            await self._try_again(taken.due, taken.now_ms)
        return len(taken.due)

    async def _end_at(self, server: TurnAdmin, call_ids: Sequence[CallId]) -> bool:
        try:
            async with asyncio.timeout(self._pace.patience_s):
                ended = await server.end_allocations(call_ids)
        except (TurnUnavailable, TimeoutError) as error:
            self._metrics.failures.labels(server.name).inc()
            log.warning("allocations.server_away", server=server.name, error=str(error), calls=len(call_ids))
            return False
        self._metrics.ended.inc(ended)
        return True

    async def _try_again(self, visits: Sequence[Visit], now_ms: int) -> None:
        given_up = [visit for visit in visits if now_ms - visit.due_at >= self._pace.give_up_s * 1000]
        again = {
            visit: now_ms + round(self._retry_s((now_ms - visit.due_at) / 1000) * 1000)
            for visit in visits
            if visit not in given_up
        }
        if given_up:
            log.error("allocations.given_up", calls=sorted({visit.call_id for visit in given_up}))
            self._metrics.visits.labels("given_up").inc(len(given_up))
            await self._visits.done(given_up)
        self._metrics.visits.labels("postponed").inc(len(again))
        await self._visits.postpone(again)

    def _retry_s(self, overdue_s: float) -> float:
        longest = min(self._pace.last_retry_s, max(self._pace.first_retry_s, overdue_s / 2))
        return longest * (1 - self._jitter() / 2)
