"""Preparation: whoever is next to own a pool learns it as soon as its owner falls silent, and not only when it is free.

An owner renews its lease in time; where one does not, the next learns what stands in the pool while the lease runs
out, so that it goes on at once. Where the owner speaks again, all of that is forgotten.
"""

import asyncio
from typing import Final

import structlog

from base.policy import IntentPolicy
from matchmaker.knowledge import Knowledge
from matchmaker.worker_ports import WorkerPorts

SILENT_MS: Final = 1_200
"""So long before the end of a lease of two seconds its owner has missed to renew it."""

logger = structlog.get_logger(__name__)


class Prepared:
    """What is being learnt, or was, before the lease was had."""

    def __init__(self, pool: str, policy: IntentPolicy, ports: WorkerPorts) -> None:
        self.knowledge = Knowledge(pool, policy, ports.queues, ports.clock)
        self._task = asyncio.create_task(self.knowledge.learn(), name=f"{pool}:prepare")

    def failed(self) -> bool:
        """Whether it is of no use."""
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def finish(self) -> None:
        """Waits until all is learnt. Raises: Unavailable."""
        await self._task

    async def forget(self) -> None:
        """Stops learning."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Preparation:
    """Decides when one pool is learnt ahead of its lease; by one worker, who stands by."""

    def __init__(self, pool: str, policy: IntentPolicy, ports: WorkerPorts) -> None:
        self._pool = pool
        self._policy = policy
        self._ports = ports
        self._prepared: Prepared | None = None

    async def heed(self, held_ms: int) -> None:
        """Takes note that another's lease lasts for so long, if nothing more is heard of them."""
        if held_ms > SILENT_MS or (self._prepared is not None and self._prepared.failed()):
            await self.forget()
        if 0 < held_ms <= SILENT_MS and self._prepared is None:
            logger.info("owner is silent, learning its pool", pool=self._pool, held_ms=held_ms)
            self._prepared = Prepared(self._pool, self._policy, self._ports)

    async def take(self) -> Prepared | None:
        """What was learnt, for whoever has the lease now."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared.failed():
            await prepared.forget()
            return None
        return prepared

    async def forget(self) -> None:
        """Lets go of what was learnt."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.forget()
