"""The sweep: fires the timers of calls whose nodes are gone, within a second.

Decides only which calls are overdue, by the store's clock; what becomes of them is up to the call.
"""

import asyncio
from typing import Final, Protocol

import structlog

from base.errors import MinuetError, Unavailable
from base.ids import CallId

logger = structlog.get_logger(__name__)

EVERY_S: Final = 0.25
OVERDUE_MS: Final = 400
"""A living node fires its own timers well within this."""
AT_ONCE: Final = 200


class DueCalls(Protocol):
    """Raises Unavailable."""

    async def due(self, *, overdue_ms: int, limit: int) -> list[CallId]: ...


class Sweeper(Protocol):
    """Fires what is due in a call. Raises MinuetError, Unavailable."""

    async def sweep(self, call_id: CallId) -> None: ...


class Sweep:
    """Looks for overdue calls until cancelled."""

    def __init__(self, store: DueCalls, calls: Sweeper) -> None:
        self._store = store
        self._calls = calls

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.sweep_once()
            except Unavailable:
                logger.debug("sweep waits for the store")
            except Exception:
                logger.exception("sweep failed")

    async def sweep_once(self) -> int:
        """Fires the timers of overdue calls; returns of how many. Raises: Unavailable."""
        overdue = await self._store.due(overdue_ms=OVERDUE_MS, limit=AT_ONCE)
        for call_id in overdue:
            try:
                await self._calls.sweep(call_id)
            except Unavailable:
                raise
            except MinuetError as error:
                logger.warning("overdue call could not be swept", call_id=call_id, code=error.code)
        return len(overdue)
