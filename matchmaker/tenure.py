"""A tenure: what one worker does with a pool from taking its lease until losing it.

Rebuilds the waiting room from the pool, or takes over what was learnt before the lease was had; then hears the pool's
events, pairs, claims and announces, reviews the matches, and looks after tickets whose nodes are gone. Everything it
knows can be rebuilt, so it ends at the first sign of trouble, by an exception, and the next tenure begins anew.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from base.policy import IntentPolicy
from matchmaker.claims import Claims
from matchmaker.knowledge import EventsMissed, Knowledge
from matchmaker.outlook import outlook_of
from matchmaker.pools import Lease
from matchmaker.preparation import Prepared
from matchmaker.reviews import REVIEW_TICK_S, Reviews
from matchmaker.room import WHEEL_MS
from matchmaker.scoring import Rule
from matchmaker.upkeep import OwnedPool, Upkeep
from matchmaker.worker_ports import WorkerPorts

LEASE_MS = 2_000
"""A crashed owner's pool is matched again within 3 s: what is left of them is for learning the pool anew."""
RENEW_S = 0.6

_EVENTS_AT_ONCE = 256
_EVENTS_BETWEEN_BREATHS = 16
_BLOCK_MS = 1_000
_UPKEEP_S = 1.0
OUTLOOK_S = 2.0
_OUTLOOK_TTL_MS = 10_000

logger = structlog.get_logger(__name__)


class PoolLost(Exception):
    """Another worker owns the pool by now, or nobody does."""


class StoreSuspect(Exception):
    """The store has lost something that is being put back: the pool is not what it will be."""


class Tenure:
    """One worker's ownership of one pool."""

    def __init__(
        self,
        pool: str,
        policy: IntentPolicy,
        ports: WorkerPorts,
        lease: Lease,
        prepared: Prepared | None = None,
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._ports = ports
        self._queues = ports.queues
        self._lease = lease
        self._token = lease.token
        self._prepared = prepared
        self._heard = asyncio.Event()
        self._is_settled = False
        self._knowledge = (
            Knowledge(pool, policy, ports.queues, ports.clock) if prepared is None else prepared.knowledge
        )
        self._knowledge.set_clock(lease)
        self._told = lease.number
        """How many events the pool knew of when its lease was last asked for."""
        self._claims = Claims(pool, self._knowledge, ports)
        self._reviews = Reviews(pool, self._knowledge, self._claims, ports)
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
            if self._prepared is not None:
                # What was found before that is not what will be there.
                self._refuse_suspect(at_all=True)
            await health.settled()
            self._is_settled = True
            await self._reviews.learn()
            learning = self._begin_to_learn(tasks)
            await self._knowledge.is_found.wait()
            self._start(tasks, self._read, self._widen, self._claim, self._review)
            await learning
            if self._prepared is not None:
                # What the owner before claimed in its last moments is no event, and waits no more.
                await self._catch_up()
                await self._knowledge.look_again()
            self._start(tasks, self._look_after, self._publish)

    def _begin_to_learn(self, tasks: asyncio.TaskGroup) -> "asyncio.Task[None]":
        learn = self._knowledge.learn(self._lease) if self._prepared is None else self._prepared.finish()
        return tasks.create_task(learn, name=f"{self._pool}:learn")

    def _start(self, tasks: asyncio.TaskGroup, *works: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for work in works:
            tasks.create_task(work(), name=f"{self._pool}:{work.__name__.strip('_')}")

    # --- the lease -----------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._keep()

    async def _keep(self) -> Lease:
        heard = self._knowledge.number
        lease = await self._queues.keep_lease(self._pool, self._token, ttl_ms=LEASE_MS)
        if not lease.token:
            raise PoolLost
        if lease.number < heard:
            raise EventsMissed(f"the pool knows of {lease.number} events, and {heard} were heard")
        self._refuse_suspect(at_all=self._is_settled)
        self._knowledge.set_clock(lease)
        self._told = lease.number
        return lease

    def _refuse_suspect(self, *, at_all: bool = True) -> None:
        """Ends the tenure when the store is found to have lost something: what was learnt of the pool is void."""
        if at_all and self._ports.health.restoring_ms() > 0:
            raise StoreSuspect

    # --- pairing -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        knowledge = self._knowledge
        while True:
            told = self._told
            batch = await self._queues.events(
                self._pool, knowledge.cursor, limit=_EVENTS_AT_ONCE, block_ms=_BLOCK_MS
            )
            if not batch.events and knowledge.number < told:
                # An owner before has read and forgotten them: in a quiet pool no later one would show the gap.
                raise EventsMissed(f"event {told} is gone, and {knowledge.number} was heard last")
            for count, (number, event) in enumerate(batch.events):
                self._claims.propose(knowledge.hear(number, event), event)
                # A crowd that arrives at once must not keep the lease from being renewed.
                if count % _EVENTS_BETWEEN_BREATHS == _EVENTS_BETWEEN_BREATHS - 1:
                    await asyncio.sleep(0)
            knowledge.cursor = batch.cursor
            self._heard.set()
            await self._claims.few.wait()

    async def _widen(self) -> None:
        room = self._knowledge.room
        while True:
            for found in room.widen(self._knowledge.now_ms(), _EVENTS_BETWEEN_BREATHS):
                self._claims.propose(found)
            await self._claims.few.wait()
            await asyncio.sleep(0 if room.is_behind() else WHEEL_MS / 1000)

    async def _claim(self) -> None:
        while True:
            asked = await self._claims.next()
            self._refuse_suspect()
            reply = await self._queues.claim(self._pool, self._token, [match for _, match in asked])
            if not reply.current:
                raise PoolLost
            for match in await self._claims.answered(asked, reply):
                self._reviews.follow(match)

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(REVIEW_TICK_S)
            self._refuse_suspect()
            await self._reviews.turn()

    # --- upkeep --------------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        pool = OwnedPool(self._pool, self._token, self._policy.paused_s)
        upkeep = Upkeep(pool, self._knowledge.room, self._ports, self._catch_up)
        while True:
            await upkeep.look_after(self._knowledge.now_ms())
            await self._queues.trim(self._pool, self._token, self._knowledge.cursor)
            for side, count in self._knowledge.room.waiting().items():
                self._ports.metrics.tickets.labels(self._pool, side).set(count)
            for rule, count in self._knowledge.room.rejections().items():
                self._rejections[rule] += count
                self._ports.metrics.rejections.labels(self._pool, rule).inc(count)
            await asyncio.sleep(_UPKEEP_S)

    async def _publish(self) -> None:
        """Tells all nodes how it looks here: one small value, however many wait."""
        while True:
            now_ms = self._knowledge.now_ms()
            marks = self._knowledge.room.marks()
            for side, places in marks.items():
                oldest_ms = now_ms - places[0][1] if places else 0
                self._ports.metrics.oldest.labels(self._pool, side).set(max(0, oldest_ms) / 1000)
            outlook = outlook_of(
                marks, self._knowledge.room.waiting(), self._claims.lately, self._rejections, now_ms
            )
            # Whoever has the pool by now says so; that this one has lost it shows when the lease is renewed.
            await self._queues.publish(self._pool, self._token, outlook, ttl_ms=_OUTLOOK_TTL_MS)
            await asyncio.sleep(OUTLOOK_S)

    async def _catch_up(self) -> None:
        """Waits until all that has happened in the pool was heard.

        Between the parts of what concerns many: Redis serves others meanwhile, and the events, of which it keeps only
        so many, are read as fast as they come.
        """
        number = (await self._keep()).number
        while self._knowledge.number < number:
            self._heard.clear()
            await self._heard.wait()
