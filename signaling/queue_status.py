"""What people see while they wait: told from the outlook that the pool's owner publishes.

Decides when a session hears of it: within a second of joining, if nobody was found by then, and later when what it
would hear is something else, looked at every five seconds. One look at the pool serves all sessions of this node, and
what each is told is worked out in constant time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from base.clock import ServerClock
from base.ids import SessionId
from base.rounds import keep_on
from matchmaker.outlook import Outlook, Standing, standing
from matchmaker.ports import OutlookSource
from matchmaker.ticket import Ticket
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.queue import QueueStatus

LOOK_S: Final = 1.0
EVERY_MS: Final = 5_000
_BREATHE_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class _Told:
    ticket_id: str
    standing: Standing
    at_ms: int


class QueueStatuses:
    """Tells the sessions of this node how they stand in their queues."""

    def __init__(self, hub: Hub, source: OutlookSource, clock: ServerClock) -> None:
        self._hub = hub
        self._source = source
        self._clock = clock
        self._told: dict[SessionId, _Told] = {}

    async def run(self) -> None:
        """Tells what changed, until cancelled."""
        # Nobody must stop waiting because the waiting could not be described.
        await keep_on(LOOK_S, self.look, "queues could not be looked at")

    async def look(self) -> None:
        """Tells everybody on this node who hears something new. Raises: Unavailable."""
        waiting = await self._waiting()
        due = [(live, ticket) for live, ticket in waiting if self._is_due(live, ticket)]
        outlooks = {
            intent: await self._source.outlook(intent)
            for intent in sorted({ticket.intent for _, ticket in due})
        }
        for count, (live, ticket) in enumerate(due, start=1):
            self._tell(live, ticket, outlooks)
            if count % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        self._told = {live.id: self._told[live.id] for live, _ in waiting if live.id in self._told}

    def _is_due(self, live: LiveSession, ticket: Ticket) -> bool:
        told = self._told.get(live.id)
        if told is None or told.ticket_id != ticket.ticket_id:
            return True
        return self._clock.monotonic_ms() - told.at_ms >= EVERY_MS

    async def _waiting(self) -> list[tuple[LiveSession, Ticket]]:
        waiting = []
        for count, live in enumerate(self._hub, start=1):
            if live.ticket is not None and live.call_id is None and live.is_attached and not live.away:
                waiting.append((live, live.ticket))
            # Most of a large node's sessions do not wait, and are walked past all the same.
            if count % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        return waiting

    def _tell(self, live: LiveSession, ticket: Ticket, outlooks: Mapping[str, Outlook | None]) -> None:
        outlook = outlooks.get(ticket.intent)
        side = outlook.sides.get(ticket.side) if outlook is not None else None
        if side is None or live.ticket is not ticket or live.call_id is not None:
            return
        found = standing(side, ticket.rank[0])
        told = self._told.get(live.id)
        self._told[live.id] = _Told(ticket.ticket_id, found, self._clock.monotonic_ms())
        if told is not None and told.ticket_id == ticket.ticket_id and told.standing == found:
            return
        live.push(
            QueueStatus(
                intent=ticket.intent,
                position_band=found.band,
                eta_ms=_ms(found.eta_median_s),
                eta_p90_ms=_ms(found.eta_p90_s),
                queued_at=ticket.queued_at,
                server_now=self._clock.now_ms(),
            )
        )


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
