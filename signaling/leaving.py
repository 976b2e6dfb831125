"""How sessions go: away for a while, for good, or to another node.

Decides what is cleared up after each. Whatever a session had in hand is its device's: where the device goes on with another
session, or with this one on another node, nothing of it is touched.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import structlog

from base.errors import Unavailable
from base.ids import CallId, NodeId, SessionId
from presence.registry import Registry
from signaling.live_session import LiveSession
from signaling.router import Router
from signaling.rows import registration_for
from signaling.tickets import Tickets

logger = structlog.get_logger(__name__)

_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 4.0)


class LeftCalls(Protocol):
    """What calls are told of devices that go."""

    async def detach(self, call_id: CallId, live: LiveSession) -> None:
        """The device lost its socket and may come back."""
        ...

    async def leave(self, call_id: CallId, live: LiveSession) -> None:
        """The device has left for good."""
        ...


class Leaving:
    """Clears up after sessions."""

    def __init__(self, router: Router, registry: Registry, tickets: Tickets, calls: LeftCalls) -> None:
        self._router = router
        self._registry = registry
        self._tickets = tickets
        self._calls = calls

    async def step_away(self, live: LiveSession) -> None:
        """The session has lost its socket and may come back."""
        try:
            if live.call_id is not None:
                await self._calls.detach(live.call_id, live)
            elif live.ticket is not None and not live.is_attached:
                await self._tickets.pause(live)
        except Unavailable:
            # The pool's owner pauses what a session no longer keeps alive, and calls have their own timers.
            logger.warning("could not note that a device is away", session_id=live.id)

    async def say_farewell(self, live: LiveSession) -> None:
        """The session is over."""
        live.ticket = None
        await insist(live, partial(self._give_back, live))
        await insist(live, partial(self.unlist, live, self._router.node_id))

    async def unlist(self, live: LiveSession, node_id: NodeId, session_id: SessionId | None = None) -> None:
        """Takes the session, or one before it, off the node's list, and its row away if it is still its own.

        Raises: Unavailable.
        """
        registration = registration_for(live.identity, live.device_id, session_id or live.id, node_id)
        await self._registry.unregister(registration, live.generation)

    async def unlist_quietly(
        self, live: LiveSession, node_id: NodeId, session_id: SessionId | None = None
    ) -> None:
        """As `unlist`; where the store is away, the reaper finds it on the list one day, and nothing to do."""
        with suppress(Unavailable):
            await self.unlist(live, node_id, session_id)

    async def _give_back(self, live: LiveSession) -> None:
        row = await self._registry.where(live.user_id, live.device_id)
        if row is not None and (row.session_id, row.generation) != (live.id, live.generation):
            # A late end: the device has gone on, or is about to.
            return
        if live.call_id is not None:
            await self._calls.leave(live.call_id, live)
        else:
            await self._tickets.leave(live)


async def insist(live: LiveSession, step: Callable[[], Awaitable[None]]) -> None:
    """Does a step of a session's coming or going, and again for seconds where the store is away."""
    for pause_s in _BACKOFF_S:
        try:
            await step()
        except Unavailable:
            await asyncio.sleep(pause_s)
        else:
            return
    # What is left is for the reaper, for timers, and for whoever looks at the session next.
    logger.warning("store was away for too long", session_id=live.id)
