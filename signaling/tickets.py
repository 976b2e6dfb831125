"""The queue tickets of this node's sessions: kept in step with the pool while their devices come and go.

A device that is away keeps its place by being paused again and again, for as long as the intent's policy allows: were
its node to die, the place would go as fast as that of any device that is lost.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import structlog

from base.clock import Clock
from base.errors import MinuetError, Unavailable
from base.ids import SessionId, TicketId
from base.policy import IntentPolicy
from base.rounds import attempt, keep_on
from matchmaker.activity import Queued
from matchmaker.lobby import Lobby, Standing
from matchmaker.ticket import Ticket
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.queue import QueueLeft
from signaling.router import Router
from signaling.rows import Rows

logger = structlog.get_logger(__name__)

CHECK_S: Final = 5.0
_KEEP_S: Final = 0.5
# A pause is begun anew this often in the time after which it would cost the place.
_PAUSES_IN_TIME: Final = 3
_PAUSED_AT_ONCE: Final = 200


@dataclass(slots=True)
class _Kept:
    """The place of a device that is away: since when it is kept, when its pause began last. Monotonic ms."""

    since_ms: int
    paused_ms: int


class Tickets:
    """Tells the pool where a waiting device is, and the device when its place is gone."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        lobby: Lobby,
        policies: Mapping[str, IntentPolicy],
        clock: Clock,
        rows: Rows,
    ) -> None:
        self._rows = rows
        self._hub = hub
        self._router = router
        self._lobby = lobby
        self._policies = policies
        self._clock = clock
        self._away: dict[SessionId, LiveSession] = {}
        self._kept: dict[TicketId, _Kept] = {}

    async def resume(self, live: LiveSession) -> None:
        """The device is here, perhaps with another session than the one that joined. Raises: Unavailable.

        One that is away only keeps its place.
        """
        ticket = live.ticket
        if ticket is None or live.call_id is not None:
            return
        live.ticket = ticket = self._as_of_now(live, ticket)
        if live.away:
            await self.keep(live)
            return
        if await self._lobby.resume(ticket) is Standing.LEFT:
            await self._missed(live, ticket)

    async def adopt(self, live: LiveSession, queued: Queued) -> None:
        """The device goes on with a place that it has from a session of another node. Raises: Unavailable."""
        live.ticket = await self._lobby.ticket(queued.pool, queued.ticket_id)
        if live.ticket is None:
            # The slot names a place that is gone, and is put right.
            await self.leave(live)
        else:
            await self.resume(live)

    async def restore(self, live: LiveSession) -> bool:
        """Puts back what the store has lost of the device's ticket, at its place; whether there was one to put back.

        A ticket that the device has given up, and that stands there again, goes. Raises: Unavailable.
        """
        ticket = live.ticket
        if live.call_id is not None or live.is_over:
            return False
        if ticket is None:
            # Whoever is just joining has a ticket there that the session does not know of yet.
            if not live.is_busy:
                await self.leave(live)
            return False
        live.ticket = ticket = self._as_of_now(live, ticket)
        paused = _may_not_be_matched(live)
        standing = await self._rows.act(live, partial(self._lobby.verify, ticket, paused=paused))
        if _has_left(live, ticket):
            # While it was put back.
            await self._lobby.leave(live.user_id, live.device_id, ticket)
        elif standing is Standing.LEFT:
            _lose(live, ticket, "expired")
        elif paused is not _may_not_be_matched(live):
            await (self.resume(live) if paused else self.pause(live))
        return standing is Standing.RESTORED

    async def pause(self, live: LiveSession) -> None:
        """The device has lost its socket; the place is kept for a while. Raises: Unavailable."""
        if live.ticket is not None:
            await self._lobby.pause(live.ticket, anew=live.away)

    async def keep(self, live: LiveSession) -> None:
        """The device is away; its place is kept until it is back or the policy's time is over. Raises: Unavailable.

        So is that of a ticket which goes back to the queue later, while the device is still away.
        """
        self._away[live.id] = live
        ticket = live.ticket
        if ticket is None or live.call_id is not None:
            return
        now_ms = self._clock.monotonic_ms()
        self._kept.setdefault(ticket.ticket_id, _Kept(now_ms, now_ms)).paused_ms = now_ms
        standing = await self._lobby.pause(ticket, anew=True)
        if standing is Standing.LEFT and live.away:
            await self._missed(live, ticket)

    async def leave(self, live: LiveSession) -> None:
        """The device has left for good. Raises: Unavailable."""
        try:
            await self._lobby.leave(live.user_id, live.device_id, live.ticket)
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
                if live.ticket is None or live.call_id is not None or not live.is_attached or live.away:
                    continue
                await attempt(partial(self._verify, live), "ticket could not be checked", session_id=live.id)

    async def keep_places(self) -> None:
        """Keeps the places of all that are away, until cancelled."""
        await keep_on(_KEEP_S, self.keep_all, "places could not be kept")

    async def keep_all(self) -> None:
        """Begins anew the pauses that have to be, and ends the wait of who is away for too long. Raises: Unavailable."""
        now_ms = self._clock.monotonic_ms()
        kept_now: dict[TicketId, _Kept] = {}
        due: dict[str, list[tuple[LiveSession, Ticket]]] = {}
        too_long: list[LiveSession] = []
        for live in tuple(self._away.values()):
            ticket = live.ticket
            if live.is_over or not live.away:
                del self._away[live.id]
                continue
            if ticket is None or live.call_id is not None:
                continue
            policy = self._policies[ticket.intent]
            pause_ms = round(policy.paused_s * 1000 / _PAUSES_IN_TIME)
            # One that has come back from a call is paused at once, whoever brought it back.
            kept = self._kept.get(ticket.ticket_id) or _Kept(now_ms, now_ms - pause_ms)
            kept_now[ticket.ticket_id] = kept
            if now_ms - kept.since_ms >= policy.away_s * 1000:
                too_long.append(live)
            elif live.is_attached and now_ms - kept.paused_ms >= pause_ms:
                kept.paused_ms = now_ms
                due.setdefault(ticket.intent, []).append((live, ticket))
        self._kept = kept_now
        for live in too_long:
            await self._give_up(live)
        for intent, waiting in due.items():
            for start in range(0, len(waiting), _PAUSED_AT_ONCE):
                await self._pause_anew(intent, waiting[start : start + _PAUSED_AT_ONCE])

    async def _pause_anew(self, intent: str, waiting: list[tuple[LiveSession, Ticket]]) -> None:
        standings = await self._lobby.keep_paused(intent, [ticket.ticket_id for _, ticket in waiting])
        for (live, ticket), standing in zip(waiting, standings, strict=True):
            if not live.away or live.ticket is not ticket:
                # Back while we asked: what it did then may have come before this pause.
                await self.resume(live)
            elif standing is Standing.LEFT and await self._is_over(ticket):
                await self._missed(live, ticket)

    async def _give_up(self, live: LiveSession) -> None:
        ticket = live.ticket
        await self.leave(live)
        if ticket is not None:
            _lose(live, ticket, "away")

    async def _verify(self, live: LiveSession) -> None:
        ticket = live.ticket
        if ticket is None:
            return
        standing = await self._rows.act(live, partial(self._lobby.verify, ticket))
        if standing is Standing.LEFT:
            await self._missed(live, ticket)
        elif live.away:
            # Meanwhile the user went away, and this has let the ticket wait again.
            await self.keep(live)

    async def _is_over(self, ticket: Ticket) -> bool:
        """Whether a ticket that the pool does not have could not be put back either."""
        return await self._lobby.verify(ticket, paused=True) is Standing.LEFT

    async def _missed(self, live: LiveSession, ticket: Ticket) -> None:
        """The pool does not have the ticket: its time was over, or the store has lost it, and then it is put back."""
        await self._rows.health.look()
        if self._rows.health.restoring_ms() > 0:
            return
        _lose(live, ticket, "expired")

    def _as_of_now(self, live: LiveSession, ticket: Ticket) -> Ticket:
        return msgspec.structs.replace(ticket, session_id=live.id, node_id=self._router.node_id)


def _may_not_be_matched(live: LiveSession) -> bool:
    return live.away or not live.is_attached


def _has_left(live: LiveSession, ticket: Ticket) -> bool:
    """Whether the device has given up this place, and not for a call."""
    held = None if live.ticket is None else live.ticket.ticket_id
    return held != ticket.ticket_id and live.call_id is None


def _lose(live: LiveSession, ticket: Ticket, reason: str) -> None:
    """Tells the device that its place is gone, if that is still its place."""
    if live.ticket is ticket and live.call_id is None:
        live.ticket = None
        live.push(QueueLeft(intent=ticket.intent, reason=reason))
