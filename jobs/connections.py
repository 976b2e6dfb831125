"""Connections that hubs could not write or tell: the recorder writes them with their calls, and here the two are told.

Also tells what a writer did not live to tell: it looks every second for connections whose time to be told has passed.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from base.ids import CallId, ConnectionId
from base.rounds import keep_on
from chat.ports import Blocks
from signaling.call.record import Call
from signaling.courier import ConnectionTeller

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0


class MadeConnections:
    """Fits `jobs.ports.RecordedConnections`. `now_ms` is Unix time."""

    def __init__(self, blocks: Blocks, teller: ConnectionTeller, now_ms: Callable[[], int]) -> None:
        self._blocks = blocks
        self._teller = teller
        self._now_ms = now_ms

    async def apart(self, calls: Sequence[Call]) -> set[CallId]:
        connected = [call for call in calls if call.connected]
        blocked = await asyncio.gather(*(self._blocks.blocks(call.a.user_id) for call in connected))
        return {
            call.call_id for call, others in zip(connected, blocked, strict=True) if call.b.user_id in others
        }

    async def tell(self, connection_ids: Sequence[ConnectionId]) -> None:
        await self._teller.tell(list(connection_ids), self._now_ms())

    async def run(self) -> None:
        """Tells what was left untold, until cancelled."""
        await keep_on(EVERY_S, self._tell_due, "connections could not be told")

    async def _tell_due(self) -> None:
        if told := await self._teller.tell_due(self._now_ms()):
            log.info("connections told late", count=told)
