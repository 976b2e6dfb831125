"""The worker: owns pools, one tenure after the other.

Stands by while another worker owns the pool, takes over when that one's lease ends, and begins anew after any
failure: nothing it holds in memory is needed again.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from base.errors import Unavailable
from base.policy import IntentPolicy
from matchmaker.ports import Lease
from matchmaker.tenure import LEASE_MS, EventsMissed, PoolLost, Tenure, WorkerPorts

_STANDBY_MS = 500
_JUST_AFTER_MS = 5
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_STEADY_MS = 10_000

logger = structlog.get_logger(__name__)


class PoolWorker:
    """Serves one pool whenever it may."""

    def __init__(self, pool: str, policy: IntentPolicy, ports: WorkerPorts) -> None:
        self._pool = pool
        self._policy = policy
        self._ports = ports
        # One nonce for the worker's life: its own lease, left over from a failure, is taken up again at once.
        self._nonce = ports.ids.new()
        self._token = ""

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
                except* PoolLost:
                    logger.warning("pool lost", pool=self._pool)
                except* EventsMissed as missed:
                    logger.warning("pool events missed", pool=self._pool, reason=str(missed.exceptions[0]))
                except* Unavailable as away:
                    logger.warning("pool unavailable", pool=self._pool, reason=str(away.exceptions[0]))
                except* Exception:
                    logger.exception("pool worker failed", pool=self._pool)
                this = asyncio.current_task()
                if this is not None and this.cancelling():
                    raise asyncio.CancelledError
                steady = self._ports.clock.monotonic_ms() - began_ms >= _STEADY_MS
                failures = 1 if steady else failures + 1
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1])
        finally:
            await self._give_up()

    async def _serve(self) -> None:
        lease = await self._take_lease()
        self._token = lease.token
        logger.info("pool taken", pool=self._pool, token=lease.token)
        metrics = self._ports.metrics
        metrics.takeovers.labels(self._pool).inc()
        metrics.pool_owner.labels(self._pool).set(1)
        metrics.lease_epoch.labels(self._pool).set(float(lease.token.partition("-")[0]))
        try:
            await Tenure(self._pool, self._policy, self._ports, lease).run()
        finally:
            metrics.pool_owner.labels(self._pool).set(0)
            metrics.lease_epoch.labels(self._pool).set(0)
            for side in ("female", "male", "other"):
                metrics.tickets.labels(self._pool, side).set(0)

    async def _take_lease(self) -> Lease:
        standing_by = False
        while True:
            lease = await self._ports.queues.take_lease(self._pool, self._nonce, ttl_ms=LEASE_MS)
            if lease.token:
                return lease
            if not standing_by:
                logger.info("standing by for pool", pool=self._pool)
                standing_by = True
            # Just after the other's lease could end; sooner than that only to notice one that was given up.
            await asyncio.sleep(min(lease.held_ms + _JUST_AFTER_MS, _STANDBY_MS) / 1000)

    async def _give_up(self) -> None:
        if self._token:
            # Where Redis does not answer the lease ends by itself.
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(1):
                    await self._ports.queues.drop_lease(self._pool, self._token)


async def run_matchmaker(policies: Mapping[str, IntentPolicy], ports: WorkerPorts) -> None:
    """Serves every intent's pool until cancelled; several processes may do so at once, each pool has one owner."""
    async with asyncio.TaskGroup() as tasks:
        for intent, policy in policies.items():
            tasks.create_task(PoolWorker(intent, policy, ports).run(), name=f"matchmaker:{intent}")
