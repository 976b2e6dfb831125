"""How this node's sessions are made known again, after the node has become another incarnation.

Decides how many at once. Refuses to know what a store has lost: that is put back by `signaling.restoring`.
"""

import asyncio
from typing import Final

import structlog

from base.errors import Unavailable
from signaling.hub import Hub
from signaling.leaving import Leaving
from signaling.live_session import LiveSession
from signaling.regaining import Regaining
from signaling.rows import Rows

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 100


class Reasserting:
    """Registers sessions that are here already."""

    def __init__(self, hub: Hub, rows: Rows, regaining: Regaining, leaving: Leaving) -> None:
        self._hub = hub
        self._rows = rows
        self._regaining = regaining
        self._leaving = leaving

    async def run(self) -> None:
        """Registers every session again, for a new incarnation of this node.

        Raises: Unavailable, after everything was tried.
        """
        everybody = tuple(self._hub)
        away: Unavailable | None = None
        for start in range(0, len(everybody), AT_ONCE):
            share = everybody[start : start + AT_ONCE]
            for failed in await asyncio.gather(*map(self._try, share)):
                away = failed or away
        if away is not None:
            raise away

    async def _try(self, live: LiveSession) -> Unavailable | None:
        try:
            await self._reassert(live)
        except Unavailable as error:
            # The others may be on another primary.
            return error
        except Exception:
            # Broad: one session must not keep all the others from being known again.
            logger.exception("session could not be registered again", session_id=live.id)
        return None

    async def _reassert(self, live: LiveSession) -> None:
        if not await self._rows.register_again(live):
            return
        if live.is_attached or live.call_id is not None:
            await self._regaining.come_back(live)
        if not live.is_attached:
            # It is this node's again, and away as before.
            await self._leaving.step_away(live)
