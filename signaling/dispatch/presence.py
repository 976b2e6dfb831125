"""The `presence` family: being away and coming back."""

from collections.abc import Mapping
from typing import Any

from base.errors import Unavailable
from presence.registry import Registry
from signaling.live_session import LiveSession
from signaling.protocol.messages.presence import PresenceSet
from signaling.router import Router
from signaling.rows import registration_of
from signaling.tickets import Tickets
from signaling.welcome import presence_of


class PresenceCommands:
    """Lets a device say whether its user is there."""

    def __init__(self, tickets: Tickets, registry: Registry, router: Router) -> None:
        self._tickets = tickets
        self._registry = registry
        self._router = router

    async def set(self, live: LiveSession, message: PresenceSet) -> Mapping[str, Any]:
        """Pauses the device's ticket, or lets it wait again at its place; in a call neither has an effect on that.

        Raises: Unavailable, and then the user is as they were before.
        """
        before = live.away
        # Before the first step: a match that is made meanwhile is not for somebody who is away.
        live.away = message.away
        try:
            if message.away:
                await self._tickets.keep(live)
            elif before and live.call_id is None:
                await self._tickets.resume(live)
            if message.away is not before:
                await self.note(live)
        except Unavailable:
            live.away = before
            raise
        return {"presence": presence_of(live), "away": live.away}

    async def come_back(self, live: LiveSession) -> None:
        """The user does something that only people do who are there. Raises: Unavailable."""
        if live.away:
            live.away = False
            await self.note(live)

    async def note(self, live: LiveSession) -> None:
        """Lets everybody see whether the user is away on this device. Raises: Unavailable."""
        registration = registration_of(live, self._router.node_id)
        await self._registry.note_away(registration, live.generation, live.away)
