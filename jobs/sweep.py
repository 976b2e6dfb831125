"""The sweep: does for calls what the nodes that should have done it did not.

Fires the timers of calls whose nodes are gone, within a second, and has nodes told of changes that they have not
acknowledged. Decides only how often it looks; what is overdue is the store's to say, and what becomes of it the call's.
"""

import asyncio
from functools import partial
from itertools import count
from typing import Final, Protocol

import structlog

from base.errors import MinuetError, Unavailable
from base.ids import CallId
from base.rounds import attempt

logger = structlog.get_logger(__name__)

EVERY_S: Final = 0.25
OVERDUE_MS: Final = 400
"""A living node fires its own timers well within this."""
AT_ONCE: Final = 200
TELLS_EVERY: Final = 2
"""Sweeps: what is to be told again has waited for a second already, and half a second more is soon enough."""


class DueCalls(Protocol):
    """Raises Unavailable."""

    async def due(self, *, overdue_ms: int, limit: int) -> list[CallId]: ...


class OverdueCalls(Protocol):
    """Calls whose timers nobody fires."""

    async def sweep(self, call_id: CallId) -> None:
        """Fires what is due in a call. Raises: MinuetError, Unavailable."""
        ...


class UntoldChanges(Protocol):
    """Changes that nodes have not acknowledged."""

    async def sweep(self, limit: int) -> int:
        """Tells them again; of how many. Raises: Unavailable."""
        ...


class Sweep:
    """Looks for what was left undone until cancelled."""

    def __init__(self, store: DueCalls, calls: OverdueCalls, changes: UntoldChanges) -> None:
        self._store = store
        self._calls = calls
        self._changes = changes
        self._failed: set[CallId] = set()
        """Of the last sweep; each is logged once."""

    async def run(self) -> None:
        for number in count():
            await asyncio.sleep(EVERY_S)
            # Each by itself: a call that cannot be swept must not keep nodes from hearing of the others.
            await attempt(self.sweep_once, "calls could not be swept")
            if number % TELLS_EVERY == 0:
                await attempt(partial(self._changes.sweep, AT_ONCE), "changes could not be told again")

    async def sweep_once(self) -> int:
        """Fires the timers of overdue calls; returns of how many. Raises: Unavailable."""
        overdue = await self._store.due(overdue_ms=OVERDUE_MS, limit=AT_ONCE)
        failed: set[CallId] = set()
        for call_id in overdue:
            try:
                await self._calls.sweep(call_id)
            except Unavailable:
                raise
            except MinuetError as error:
                logger.warning("overdue call could not be swept", call_id=call_id, code=error.code)
            except Exception:
                # Broad: a record of another release, or a mistake of ours. It comes first each time, and the others must not wait.
                if call_id not in self._failed:
                    logger.exception("overdue call could not be swept", call_id=call_id)
                failed.add(call_id)
        self._failed = failed
        return len(overdue)
