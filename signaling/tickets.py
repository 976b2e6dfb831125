"""The queue tickets of this node's sessions: kept in step with the pool while their devices come and go."""

import asyncio
from typing import Final

import msgspec
import structlog

from base.errors import MinuetError, Unavailable
from matchmaker.lobby import Lobby, Standing
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.queue import QueueLeft
from signaling.router import Router

logger = structlog.get_logger(__name__)

CHECK_S: Final = 5.0


class Tickets:
    """Tells the pool where a waiting device is, and the device when its place is gone."""

    def __init__(self, hub: Hub, router: Router, lobby: Lobby) -> None:
        self._hub = hub
        self._router = router
        self._lobby = lobby

    async def resume(self, live: LiveSession) -> None:
        """The device is here, perhaps with another session than the one that joined. Raises: Unavailable."""
        ticket = live.ticket
        if ticket is None:
            return
        live.ticket = ticket = msgspec.structs.replace(
            ticket, session_id=live.id, node_id=self._router.node_id
        )
        if await self._lobby.resume(ticket) is Standing.LEFT and live.ticket is ticket:
            _lose(live)

    async def pause(self, live: LiveSession) -> None:
        """The device is away; the place is kept for a while. Raises: Unavailable."""
        if live.ticket is not None:
            await self._lobby.pause(live.ticket)

    async def leave(self, live: LiveSession) -> None:
        """The device has left for good. Raises: Unavailable."""
        try:
            await self._lobby.leave(live.user_id, live.device_id)
        except Unavailable:
            raise
        except MinuetError as error:
            # Matched at this very moment, or another device's: both are settled where the match is.
            logger.debug("left without a ticket", code=error.code, session_id=live.id)

    async def check(self) -> None:
        """Puts back what is missing of tickets whose devices believe to wait; until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            for live in self._hub:
                if live.ticket is None or live.call_id is not None or not live.is_attached:
                    continue
                try:
                    await self._verify(live)
                except Unavailable:
                    logger.debug("tickets could not be checked")
                except Exception:
                    # One ticket must not end the check of all the others.
                    logger.exception("ticket could not be checked", session_id=live.id)

    async def _verify(self, live: LiveSession) -> None:
        ticket = live.ticket
        if ticket is None:
            return
        if await self._lobby.verify(ticket) is Standing.LEFT and live.ticket is ticket and not live.call_id:
            _lose(live)


def _lose(live: LiveSession) -> None:
    ticket, live.ticket = live.ticket, None
    if ticket is not None:
        live.push(QueueLeft(intent=ticket.intent, reason="expired"))
