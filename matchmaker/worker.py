"""The worker: owns pools, one tenure after the other.

Stands by while another worker owns the pool, takes over when that one's lease ends, and begins anew after any
failure: nothing it holds in memory is needed again. Where several matchmakers run, each pool has one that is the one to
serve it; the others leave it to that one, and serve it only where it does not.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from base.errors import Unavailable
from base.policy import IntentPolicy
from matchmaker.knowledge import EventsMissed
from matchmaker.pools import Lease
from matchmaker.preparation import Preparation
from matchmaker.roster import Roster
from matchmaker.tenure import LEASE_MS, PoolLost, StoreSuspect, Tenure
from matchmaker.worker_ports import WorkerPorts

_STANDBY_MS = 500
# Whoever is the one to serve a pool looks so often, and the others leave it that much time.
_EAGER_MS = 100
_POLITE_MS = 250
_JUST_AFTER_MS = 5
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_STEADY_MS = 10_000
# A pool that comes back so soon after it was given up was not wanted, whatever the roster says: it is kept then.
IN_VAIN_MS = 5_000
KEEP_MS, KEEP_AT_MOST_MS = 60_000, 960_000

logger = structlog.get_logger(__name__)


class PoolGivenUp(Exception):
    """Another matchmaker is the one to serve the pool."""


class PoolWorker:
    """Serves one pool whenever it may."""

    def __init__(
        self, pool: str, policy: IntentPolicy, ports: WorkerPorts, roster: Roster | None = None
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._ports = ports
        self._roster = roster
        # One nonce for the worker's life: its own lease, left over from a failure, is taken up again at once.
        self._nonce = ports.ids.new() if roster is None else f"{roster.member}.{ports.ids.new()}"
        self._preparation = Preparation(pool, policy, ports)
        self._token = ""
        self._given_up_ms: int | None = None
        self._keeps_ms = 0

    async def run(self) -> None:
        """Serves the pool until cancelled; then another worker may take it at once."""
        failures = 0
        try:
            while True:
                began_ms = self._ports.clock.monotonic_ms()
                # In a task of its own: a group of tasks that fails while it is being cancelled raises only the
                # failure, and before Python 3.13 leaves its task's count of cancellations wrong. This one's is right.
                serving = asyncio.create_task(self._serve(), name=f"{self._pool}:serve")
                try:
                    await serving
                except* PoolGivenUp:
                    logger.info("pool given up", pool=self._pool)
                    await self._give_up()
                    self._given_up_ms = self._ports.clock.monotonic_ms()
                    failures = 0
                except* PoolLost:
                    logger.warning("pool lost", pool=self._pool)
                except* StoreSuspect:
                    logger.warning("pool left alone until all is put back", pool=self._pool)
                    failures = 0
                except* EventsMissed as missed:
                    logger.warning("pool events missed", pool=self._pool, reason=_reason(missed))
                except* Unavailable as away:
                    logger.warning("pool unavailable", pool=self._pool, reason=_reason(away))
                except* Exception:
                    # Broad: whatever is wrong must not leave a pool without its owner for ever.
                    logger.exception("pool worker failed", pool=self._pool)
                this = asyncio.current_task()
                if this is not None and this.cancelling():
                    raise asyncio.CancelledError
                steady = self._ports.clock.monotonic_ms() - began_ms >= _STEADY_MS
                failures = 1 if steady else failures + 1
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1])
        finally:
            await self._preparation.forget()
            await self._give_up()

    async def _serve(self) -> None:
        lease = await self._take_lease()
        prepared = await self._preparation.take()
        self._token = lease.token
        logger.info("pool taken", pool=self._pool, token=lease.token)
        metrics = self._ports.metrics
        metrics.takeovers.labels(self._pool).inc()
        metrics.pool_owner.labels(self._pool).set(1)
        metrics.lease_epoch.labels(self._pool).set(float(lease.token.partition("-")[0]))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Tenure(self._pool, self._policy, self._ports, lease, prepared).run())
                if self._roster is not None:
                    tasks.create_task(self._give_up_in_time(self._roster))
        finally:
            if prepared is not None:
                await prepared.forget()
            metrics.pool_owner.labels(self._pool).set(0)
            metrics.lease_epoch.labels(self._pool).set(0)
            for side in ("female", "male", "other"):
                metrics.tickets.labels(self._pool, side).set(0)
                metrics.oldest.labels(self._pool, side).set(0)

    async def _take_lease(self) -> Lease:
        standing_by = False
        while True:
            if self._roster is not None:
                self._roster.tries(self._pool)
            if await self._is_left_to_another():
                held_ms = await self._ports.queues.owned_for(self._pool)
            else:
                lease = await self._ports.queues.take_lease(self._pool, self._nonce, ttl_ms=LEASE_MS)
                if lease.token:
                    return lease
                held_ms = lease.held_ms
            if not standing_by:
                logger.info("standing by for pool", pool=self._pool)
                standing_by = True
            if self._is_next():
                await self._preparation.heed(held_ms)
            else:
                await self._preparation.forget()
            # Just after the other's lease could end; sooner only to notice one that was given up, or is not renewed.
            most_ms = _EAGER_MS if self._roster is not None and self._is_next() else _STANDBY_MS
            await asyncio.sleep(min(held_ms + _JUST_AFTER_MS, most_ms) / 1000)

    async def _is_left_to_another(self) -> bool:
        """Whether the pool has an owner, or gets one that is to serve it; a free one is left to that one for a moment."""
        if self._is_mine():
            return False
        if await self._ports.queues.owned_for(self._pool):
            return True
        await asyncio.sleep(_POLITE_MS / 1000)
        return bool(await self._ports.queues.owned_for(self._pool))

    def _is_mine(self) -> bool:
        return self._roster is None or self._roster.is_mine(self._pool)

    def _is_next(self) -> bool:
        """Whether the pool is this one's where its owner is gone."""
        return self._roster is None or self._roster.is_next(self._pool)

    async def _give_up_in_time(self, roster: Roster) -> None:
        taken_ms = self._ports.clock.monotonic_ms()
        if self._given_up_ms is not None:
            in_vain = taken_ms - self._given_up_ms < IN_VAIN_MS
            self._keeps_ms = min(max(2 * self._keeps_ms, KEEP_MS), KEEP_AT_MOST_MS) if in_vain else 0
            self._given_up_ms = None
        while True:
            await asyncio.sleep(_STANDBY_MS / 1000)
            roster.tries(self._pool)
            kept_ms = self._ports.clock.monotonic_ms() - taken_ms
            if kept_ms >= self._keeps_ms and roster.should_give_up(self._pool):
                raise PoolGivenUp

    async def _give_up(self) -> None:
        if self._token:
            # Where Redis does not answer the lease ends by itself.
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(1):
                    await self._ports.queues.drop_lease(self._pool, self._token)


def _reason(group: BaseExceptionGroup[BaseException]) -> str:
    """What the first of the failures says, however deep the groups of tasks are."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


async def run_matchmaker(
    policies: Mapping[str, IntentPolicy], ports: WorkerPorts, member: str | None = None
) -> None:
    """Serves the pools of intents until cancelled; several processes may do so at once, each pool has one owner.

    The pools are spread evenly over the processes. `member` names this one among them.
    """
    roster = Roster(member or ports.ids.new(), policies, ports.queues, ports.clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(roster.run(), name="matchmaker:roster")
        for intent, policy in policies.items():
            tasks.create_task(PoolWorker(intent, policy, ports, roster).run(), name=f"matchmaker:{intent}")
