"""A tenure: what one worker does with a pool from taking its lease until losing it.

Rebuilds the waiting room from the pool, then hears the pool's events, pairs, claims and announces, reviews the
matches, and looks after tickets whose nodes are gone. Everything it knows can be rebuilt, so it ends at the first
sign of trouble, by an exception, and the next tenure begins anew.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from heapq import heappop, heappush, merge
from typing import Any

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import CallId, TicketId
from base.policy import IntentPolicy
from matchmaker.bitsets import BitsetIndex
from matchmaker.matches import SEATS, Match, MatchedSeat, MatchRecord, Progress, seated
from matchmaker.outlook import MatchedLately, outlook_of
from matchmaker.pairing import Pair
from matchmaker.ports import (
    Arrived,
    CallOutcome,
    Lease,
    StoredTicket,
    TicketState,
    ticket_of,
)
from matchmaker.ports import Paused as PausedEvent
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
from matchmaker.room import WHEEL_MS, WaitingRoom
from matchmaker.scoring import Rule, rules_of
from matchmaker.upkeep import OwnedPool, Upkeep
from matchmaker.worker_ports import WorkerPorts

LEASE_MS = 2_000
"""A crashed owner's pool is matched again within 3 s: what is left of them is for learning the pool anew."""
RENEW_S = 0.6

CLAIMS_AT_ONCE = 64
_PAIRS_AT_MOST = 1_024
_EVENTS_AT_ONCE = 256
_EVENTS_BETWEEN_BREATHS = 16
_SORTED_BETWEEN_BREATHS = 512
_BLOCK_MS = 1_000
_REVIEWS_AT_ONCE = 64
_REVIEW_TICK_S = 0.1
_REVIEW_EVERY_MS = 500
_UPKEEP_S = 1.0
OUTLOOK_S = 2.0
_OUTLOOK_TTL_MS = 10_000

logger = structlog.get_logger(__name__)


class PoolLost(Exception):
    """Another worker owns the pool by now, or nobody does."""


class StoreSuspect(Exception):
    """The store has lost something that is being put back: the pool is not what it will be."""


class EventsMissed(Exception):
    """The pool's events have a gap: what is known of it is not what it is."""


class Tenure:
    """One worker's ownership of one pool."""

    def __init__(self, pool: str, policy: IntentPolicy, ports: WorkerPorts, lease: Lease) -> None:
        self._pool = pool
        self._policy = policy
        self._ports = ports
        self._queues = ports.queues
        self._token = lease.token
        self._cursor = lease.cursor
        self._number = lease.number
        self._heard = asyncio.Event()
        self._is_settled = False
        self._is_learning = True
        self._news: set[TicketId] = set()
        """Of which tickets something was heard while the pool is learnt."""
        self._clock_ahead_ms = 0
        self._set_clock(lease)
        rules = rules_of(policy)
        self._room = WaitingRoom(policy, rules, BitsetIndex(rules.tiers))
        self._pairs: deque[Pair] = deque()
        self._arrived_at: dict[TicketId, int] = {}
        self._pairs_wait = asyncio.Event()
        self._pairs_few = asyncio.Event()
        self._pairs_few.set()
        self._reviews: list[tuple[int, CallId]] = []
        self._lately = MatchedLately(self._now())
        self._rejections: Counter[Rule] = Counter()

    async def run(self) -> None:
        """Serves the pool.

        Raises:
            ExceptionGroup: of `PoolLost`, `EventsMissed`, `StoreSuspect`, `Unavailable` or a defect; never returns
                otherwise.
        """
        health = self._ports.health
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew(), name=f"{self._pool}:renew")
            # A pool changes hands also because the store has lost who owned it, and its tickets with that.
            await health.look()
            await health.settled()
            self._is_settled = True
            await self._know_matches()
            stored = await self._queues.scan(self._pool)
            # Whoever arrives while a large pool is learnt meets those who have waited longest first.
            self._start(tasks, self._read, self._widen, self._claim, self._review)
            await self._learn(stored)
            self._start(tasks, self._look_after, self._publish)

    def _start(self, tasks: asyncio.TaskGroup, *works: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for work in works:
            tasks.create_task(work(), name=f"{self._pool}:{work.__name__.strip('_')}")

    # --- the lease -----------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._keep()

    async def _keep(self) -> Lease:
        heard = self._number
        lease = await self._queues.keep_lease(self._pool, self._token, ttl_ms=LEASE_MS)
        if not lease.token:
            raise PoolLost
        if lease.number < heard:
            raise EventsMissed(f"the pool knows of {lease.number} events, and {heard} were heard")
        self._refuse_suspect()
        self._set_clock(lease)
        return lease

    def _refuse_suspect(self) -> None:
        """Ends the tenure when the store is found to have lost something: what was learnt of the pool is void."""
        if self._is_settled and self._ports.health.restoring_ms() > 0:
            raise StoreSuspect

    def _set_clock(self, lease: Lease) -> None:
        self._clock_ahead_ms = lease.now_ms - self._ports.clock.monotonic_ms()

    def _now(self) -> int:
        """The time on Redis' clock, Unix ms."""
        return self._ports.clock.monotonic_ms() + self._clock_ahead_ms

    # --- pairing -------------------------------------------------------------------------------------------------

    async def _know_matches(self) -> None:
        for record in await self._queues.matches(self._pool):
            self._review_at(record.match.claimed_at_ms, record.match.call_id)

    async def _learn(self, stored: Sequence[StoredTicket]) -> None:
        """Learns the pool as it was found, those who wait longest first, while the events since are heard beside it."""
        for count, each in enumerate(await _by_seniority(stored)):
            if each.ticket.ticket_id in self._news:
                # What was heard of it is newer than what was found.
                pass
            elif each.state is TicketState.WAITING:
                arrived = Arrived(each.ticket, each.ticket.queued_at)
                self._propose(self._room.hear(self._number, arrived, self._now()))
            elif each.state is TicketState.PAUSED:
                paused = PausedEvent(each.ticket.ticket_id, each.paused_at)
                self._room.hear(self._number, paused, self._now())
            if count % _EVENTS_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)
                await self._pairs_few.wait()
        self._is_learning = False
        self._news.clear()
        logger.info("pool rebuilt", pool=self._pool, tickets=len(stored), matches=len(self._reviews))

    async def _read(self) -> None:
        while True:
            batch = await self._queues.events(
                self._pool, self._cursor, limit=_EVENTS_AT_ONCE, block_ms=_BLOCK_MS
            )
            for count, (number, event) in enumerate(batch.events):
                if number != self._number + 1:
                    raise EventsMissed(f"event {number} follows {self._number}")
                self._number = number
                if self._is_learning:
                    self._news.add(ticket_of(event))
                found = self._room.hear(number, event, self._now())
                if found is not None and isinstance(event, Arrived):
                    self._arrived_at[event.ticket.ticket_id] = event.at_ms
                self._propose(found)
                # A crowd that arrives at once must not keep the lease from being renewed.
                if count % _EVENTS_BETWEEN_BREATHS == _EVENTS_BETWEEN_BREATHS - 1:
                    await asyncio.sleep(0)
            self._cursor = batch.cursor
            self._heard.set()
            await self._pairs_few.wait()

    async def _widen(self) -> None:
        while True:
            for found in self._room.widen(self._now(), _EVENTS_BETWEEN_BREATHS):
                self._propose(found)
            await asyncio.sleep(0 if self._room.is_behind() else WHEEL_MS / 1000)

    def _propose(self, found: Pair | None) -> None:
        if found is not None:
            self._pairs.append(found)
            self._pairs_wait.set()
        if len(self._pairs) < _PAIRS_AT_MOST:
            self._pairs_few.set()
        else:
            self._pairs_few.clear()

    # --- claiming ------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        """Claims what was paired while the last claim was under way: under load, many at once without waiting."""
        while True:
            await self._pairs_wait.wait()
            pairs = [self._pairs.popleft() for _ in range(min(len(self._pairs), CLAIMS_AT_ONCE))]
            if not self._pairs:
                self._pairs_wait.clear()
            matches = [self._match(pair) for pair in pairs]
            self._refuse_suspect()
            reply = await self._queues.claim(self._pool, self._token, matches)
            if not reply.current:
                raise PoolLost
            claimed: list[tuple[Pair, Match]] = []
            for pair, match, claim in zip(pairs, matches, reply.claims, strict=True):
                if claim.lost:
                    self._ports.metrics.claims_refused.labels(self._pool).inc()
                else:
                    claimed.append((pair, msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)))
                for found in self._room.claimed(pair, claim.lost, reply.number, self._now()):
                    self._propose(found)
            self._propose(None)
            for pair, match in claimed:
                await self._announce(match)
                self._review_at(match.claimed_at_ms + _REVIEW_EVERY_MS, match.call_id)
                self._count(pair, match)
            for pair in pairs:
                for ticket in (pair.a, pair.b):
                    self._arrived_at.pop(ticket.ticket_id, None)

    def _match(self, pair: Pair) -> Match:
        return Match(
            call_id=CallId(self._ports.ids.new()),
            intent=self._pool,
            claimed_at_ms=0,
            a=seated(pair.a),
            b=seated(pair.b),
        )

    async def _announce(self, match: Match) -> None:
        try:
            await self._ports.announcer.announce(match)
        except Unavailable:
            # The match stands; its review announces it again.
            logger.warning("match not announced", pool=self._pool, call_id=match.call_id)

    def _count(self, pair: Pair, match: Match) -> None:
        metrics, now_ms = self._ports.metrics, self._now()
        metrics.matches.labels(self._pool, "claimed").inc()
        metrics.passed_over.labels(self._pool).inc(pair.passed_over)
        for side, tier in zip((match.a, match.b), pair.tiers, strict=True):
            waited_ms = max(0, match.claimed_at_ms - side.queued_at)
            metrics.match_wait.labels(self._pool, side.gender, tier).observe(waited_ms / 1000)
            self._lately.add(side.gender, waited_ms, now_ms)
            arrived_at = self._arrived_at.get(side.ticket_id)
            if arrived_at is not None:
                claimed_s, announced_s = ((at - arrived_at) / 1000 for at in (match.claimed_at_ms, now_ms))
                metrics.claim_latency.labels(self._pool).observe(max(0.0, claimed_s))
                metrics.announce_latency.labels(self._pool).observe(max(0.0, announced_s))

    # --- matches under way ---------------------------------------------------------------------------------------

    def _review_at(self, at_ms: int, call_id: CallId) -> None:
        heappush(self._reviews, (at_ms, call_id))

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(_REVIEW_TICK_S)
            now_ms = self._now()
            self._refuse_suspect()
            due: list[CallId] = []
            while self._reviews and self._reviews[0][0] <= now_ms and len(due) < _REVIEWS_AT_ONCE:
                due.append(heappop(self._reviews)[1])
            records = await self._queues.match_records(self._pool, due)
            outcomes = await asyncio.gather(*(self._outcome(record) for record in records.values()))
            for record, outcome in zip(records.values(), outcomes, strict=True):
                step = next_step(record, outcome, self._now())
                try:
                    await self._take(step, record)
                except Unavailable:
                    # A part of the users or calls may be away while the pool is not: its people are still matched.
                    logger.warning("match not reviewed", pool=self._pool, call_id=record.match.call_id)
                # It is looked at until it is gone: a step may have been done only in part.
                self._review_at(self._now() + _REVIEW_EVERY_MS, record.match.call_id)

    async def _outcome(self, record: MatchRecord) -> CallOutcome | None:
        if self._now() - record.match.claimed_at_ms < FINISH_MS:
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
        await self._announce(msgspec.structs.replace(match, a=places["a"], b=places["b"]))

    async def _where_now(self, seat: MatchedSeat) -> MatchedSeat:
        place = await self._ports.activities.session_of(seat.user_id, seat.device_id)
        if place is None:
            return seat
        node_id, session_id = place
        return msgspec.structs.replace(seat, node_id=node_id, session_id=session_id)

    # --- upkeep --------------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        pool = OwnedPool(self._pool, self._token, self._policy.paused_s)
        upkeep = Upkeep(pool, self._room, self._ports, self._catch_up)
        while True:
            await upkeep.look_after(self._now())
            await self._queues.trim(self._pool, self._token, self._cursor)
            for side, count in self._room.waiting().items():
                self._ports.metrics.tickets.labels(self._pool, side).set(count)
            for rule, count in self._room.rejections().items():
                self._rejections[rule] += count
                self._ports.metrics.rejections.labels(self._pool, rule).inc(count)
            await asyncio.sleep(_UPKEEP_S)

    async def _publish(self) -> None:
        """Tells all nodes how it looks here: one small value, however many wait."""
        while True:
            now_ms = self._now()
            marks = self._room.marks()
            for side, places in marks.items():
                oldest_ms = now_ms - places[0][1] if places else 0
                self._ports.metrics.oldest.labels(self._pool, side).set(max(0, oldest_ms) / 1000)
            outlook = outlook_of(marks, self._room.waiting(), self._lately, self._rejections, now_ms)
            # Whoever has the pool by now says so; that this one has lost it shows when the lease is renewed.
            await self._queues.publish(self._pool, self._token, outlook, ttl_ms=_OUTLOOK_TTL_MS)
            await asyncio.sleep(OUTLOOK_S)

    async def _catch_up(self) -> None:
        """Waits until all that has happened in the pool was heard.

        Between the parts of what concerns many: Redis serves others meanwhile, and the events, of which it keeps only
        so many, are read as fast as they come.
        """
        number = (await self._keep()).number
        while self._number < number:
            self._heard.clear()
            await self._heard.wait()


async def _by_seniority(stored: Sequence[StoredTicket]) -> Iterator[StoredTicket]:
    """Those who wait longest first. Sorted by and by: one sort of a large pool would keep all else waiting."""
    runs = []
    for start in range(0, len(stored), _SORTED_BETWEEN_BREATHS):
        runs.append(sorted(stored[start : start + _SORTED_BETWEEN_BREATHS], key=_seniority))
        await asyncio.sleep(0)
    return merge(*runs, key=_seniority)


def _seniority(stored: StoredTicket) -> tuple[int, str]:
    return stored.ticket.seniority
