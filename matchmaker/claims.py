"""Claims: what becomes of the pairs of a pool, from being proposed to being announced.

While one claim is under way pairs gather for the next, so that under load many are claimed at once without waiting.
"""

import asyncio
from collections import deque

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import CallId, TicketId
from base.policy import Gender
from matchmaker.knowledge import Knowledge
from matchmaker.matches import Match, seated
from matchmaker.outlook import MatchedLately
from matchmaker.pairing import Pair
from matchmaker.pools import Arrived, ClaimReply, PoolEvent
from matchmaker.worker_ports import WorkerPorts

CLAIMS_AT_ONCE = 64
_PAIRS_AT_MOST = 1_024

logger = structlog.get_logger(__name__)


class Claims:
    """The pairs of one pool that wait to be claimed."""

    def __init__(self, pool: str, knowledge: Knowledge, ports: WorkerPorts) -> None:
        self._pool = pool
        self._knowledge = knowledge
        self._ports = ports
        self._pairs: deque[Pair] = deque()
        self._arrived_at: dict[TicketId, int] = {}
        self._some = asyncio.Event()
        self.few = asyncio.Event()
        """Not so many wait that no more should be made."""
        self.few.set()
        self.lately = MatchedLately(knowledge.now_ms())
        metrics = ports.metrics
        # Looked up once: it takes as long as a good part of a claim.
        self._claimed = metrics.matches.labels(pool, "claimed")
        self._refused = metrics.claims_refused.labels(pool)
        self._passed_over = metrics.passed_over.labels(pool)
        self._claim_latency = metrics.claim_latency.labels(pool)
        self._announce_latency = metrics.announce_latency.labels(pool)
        self._waits = {
            (side, tier): metrics.match_wait.labels(pool, side, tier)
            for side in Gender
            for tier in range(knowledge.tiers)
        }

    def propose(self, found: Pair | None, event: PoolEvent | None = None) -> None:
        """Lets a pair be claimed; it was found when `event` was heard."""
        if found is not None:
            if isinstance(event, Arrived):
                self._arrived_at[event.ticket.ticket_id] = event.at_ms
            self._pairs.append(found)
            self._some.set()
        if len(self._pairs) < _PAIRS_AT_MOST:
            self.few.set()
        else:
            self.few.clear()

    async def next(self) -> list[tuple[Pair, Match]]:
        """The pairs to be claimed now, with the matches that they would be; waits for the first."""
        await self._some.wait()
        pairs = [self._pairs.popleft() for _ in range(min(len(self._pairs), CLAIMS_AT_ONCE))]
        if not self._pairs:
            self._some.clear()
        return [(pair, self._match(pair)) for pair in pairs]

    def _match(self, pair: Pair) -> Match:
        return Match(
            call_id=CallId(self._ports.ids.new()),
            intent=self._pool,
            claimed_at_ms=0,
            a=seated(pair.a),
            b=seated(pair.b),
        )

    async def answered(self, asked: list[tuple[Pair, Match]], reply: ClaimReply) -> list[Match]:
        """Takes note of the answer to a claim, and announces what became matches: these."""
        room = self._knowledge.room
        claimed: list[tuple[Pair, Match]] = []
        for (pair, match), claim in zip(asked, reply.claims, strict=True):
            if claim.lost:
                self._refused.inc()
            else:
                claimed.append((pair, msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)))
            for found in room.claimed(pair, claim.lost, reply.number, self._knowledge.now_ms()):
                self.propose(found)
        self.propose(None)
        for pair, match in claimed:
            await self.announce(match)
            self._count(pair, match)
        for pair, _ in asked:
            for ticket in (pair.a, pair.b):
                self._arrived_at.pop(ticket.ticket_id, None)
        return [match for _, match in claimed]

    async def announce(self, match: Match) -> None:
        """Tells both sides' nodes."""
        try:
            await self._ports.announcer.announce(match)
        except Unavailable:
            # The match stands; its review announces it again.
            logger.warning("match not announced", pool=self._pool, call_id=match.call_id)

    def _count(self, pair: Pair, match: Match) -> None:
        now_ms = self._knowledge.now_ms()
        self._claimed.inc()
        self._passed_over.inc(pair.passed_over)
        for side, tier in zip((match.a, match.b), pair.tiers, strict=True):
            waited_ms = max(0, match.claimed_at_ms - side.queued_at)
            self._waits[side.gender, tier].observe(waited_ms / 1000)
            self.lately.add(side.gender, waited_ms, now_ms)
            arrived_at = self._arrived_at.get(side.ticket_id)
            if arrived_at is not None:
                claimed_s, announced_s = ((at - arrived_at) / 1000 for at in (match.claimed_at_ms, now_ms))
                self._claim_latency.observe(max(0.0, claimed_s))
                self._announce_latency.observe(max(0.0, announced_s))
