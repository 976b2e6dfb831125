"""Reviews: what a pool's owner does about matches that are not live yet.

Looks at each a while after its claim and then again until it is gone, and takes the step that `matchmaker.review` says.
"""

import asyncio
from heapq import heappop, heappush

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import CallId
from matchmaker.claims import Claims
from matchmaker.knowledge import Knowledge
from matchmaker.matches import SEATS, Match, MatchedSeat, MatchRecord, Progress
from matchmaker.ports import CallOutcome
from matchmaker.review import (
    FINISH_MS,
    AnnounceAgain,
    FinishEntering,
    Release,
    Settle,
    Step,
    Wait,
    next_step,
)
from matchmaker.worker_ports import WorkerPorts

REVIEW_TICK_S = 0.1
_REVIEWS_AT_ONCE = 64
_REVIEW_EVERY_MS = 500

logger = structlog.get_logger(__name__)


class Reviews:
    """The matches of one pool that are under way."""

    def __init__(self, pool: str, knowledge: Knowledge, claims: Claims, ports: WorkerPorts) -> None:
        self._pool = pool
        self._knowledge = knowledge
        self._claims = claims
        self._ports = ports
        self._due: list[tuple[int, CallId]] = []

    async def learn(self) -> None:
        """Learns the matches that are under way. Raises: Unavailable."""
        for record in await self._ports.queues.matches(self._pool):
            heappush(self._due, (record.match.claimed_at_ms, record.match.call_id))

    def follow(self, match: Match) -> None:
        """Looks at a new match, in a while."""
        heappush(self._due, (match.claimed_at_ms + _REVIEW_EVERY_MS, match.call_id))

    async def turn(self) -> None:
        """Looks at those whose time has come. Raises: Unavailable."""
        now_ms = self._knowledge.now_ms()
        due: list[CallId] = []
        while self._due and self._due[0][0] <= now_ms and len(due) < _REVIEWS_AT_ONCE:
            due.append(heappop(self._due)[1])
        records = await self._ports.queues.match_records(self._pool, due)
        outcomes = await asyncio.gather(*(self._outcome(record) for record in records.values()))
        for record, outcome in zip(records.values(), outcomes, strict=True):
            step = next_step(record, outcome, self._knowledge.now_ms())
            try:
                await self._take(step, record)
            except Unavailable:
                # A part of the users or calls may be away while the pool is not: its people are still matched.
                logger.warning("match not reviewed", pool=self._pool, call_id=record.match.call_id)
            # It is looked at until it is gone: a step may have been done only in part.
            heappush(self._due, (self._knowledge.now_ms() + _REVIEW_EVERY_MS, record.match.call_id))

    async def _outcome(self, record: MatchRecord) -> CallOutcome | None:
        if self._knowledge.now_ms() - record.match.claimed_at_ms < FINISH_MS:
            return None
        try:
            return await self._ports.calls.stage(record.match.call_id)
        except Unavailable:
            return None

    async def _take(self, step: Step, record: MatchRecord) -> None:
        lobby, match_ = self._ports.lobby, record.match
        match step:
            case Wait():
                pass
            case AnnounceAgain():
                await self._announce_again(record)
            case FinishEntering(seats):
                await self._announce_again(record)
                for seat in seats:
                    await lobby.accept_match(match_, seat)
            case Settle(unentered):
                for seat in unentered:
                    await lobby.accept_match(match_, seat)
                await lobby.went_live(match_.ref("a"))
            case Release(seats, returns, expired, declined):
                if expired:
                    self._ports.metrics.matches.labels(self._pool, "expired").inc()
                for seat in seats:
                    await lobby.release(match_.ref(seat), returns=seat in returns, declined=seat in declined)

    async def _announce_again(self, record: MatchRecord) -> None:
        """To wherever the sessions are now: they may have moved since they joined."""
        match = record.match
        places = {}
        for seat in SEATS:
            places[seat] = match.seat(seat)
            if record.progress(seat) is Progress.ANNOUNCED:
                places[seat] = await self._where_now(match.seat(seat))
        await self._claims.announce(msgspec.structs.replace(match, a=places["a"], b=places["b"]))

    async def _where_now(self, seat: MatchedSeat) -> MatchedSeat:
        place = await self._ports.activities.session_of(seat.user_id, seat.device_id)
        if place is None:
            return seat
        node_id, session_id = place
        return msgspec.structs.replace(seat, node_id=node_id, session_id=session_id)
