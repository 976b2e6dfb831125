"""How sessions leave this node: for a while, for good, to another node, or for a newer session of their device.

Decides who has to be told of each, and in which order. Refuses to know what is cleared up (`signaling.leaving`).
"""

from collections.abc import Coroutine
from typing import Any

import structlog

from base.ids import SessionId
from matchmaker.lobby import Lobby
from presence.sessions import SessionRow
from signaling.chores import Chores
from signaling.handover import Handovers
from signaling.hub import Hub
from signaling.leaving import Leaving
from signaling.live_session import LiveSession
from signaling.node_frames import SessionTaken
from signaling.router import Router

logger = structlog.get_logger(__name__)


class Departures:
    """The `Lifecycle` of all sessions of this node."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        lobby: Lobby,
        leaving: Leaving,
        handovers: Handovers,
        chores: Chores,
    ) -> None:
        self._hub = hub
        self._router = router
        self._lobby = lobby
        self._leaving = leaving
        self._handovers = handovers
        self._chores = chores
        handovers.left, handovers.stayed = self.left, self.detached

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        self._chores.run_soon(work)

    def detached(self, live: LiveSession) -> None:
        self._hub.wake(live)
        self.run_soon(self._leaving.step_away(live))

    def ended(self, live: LiveSession, reason: str) -> None:
        self._hub.remove(live)
        logger.info("session ended", session_id=live.id, reason=reason, call_id=live.call_id)
        self.over(live)

    def over(self, live: LiveSession) -> None:
        """Of a session that nobody here finds any more, what it has is given back."""
        self.run_soon(self._leaving.say_farewell(live))

    def left(self, live: LiveSession) -> None:
        """The session is on another node now."""
        self.run_soon(self._leaving.unlist_quietly(live, self._router.node_id))

    def taken(self, session_id: SessionId, generation: int = 0) -> None:
        """The session's device has a newer one on another node, under this generation; 0: it was not told."""
        self._handovers.taken(session_id, generation)
        live = self._hub.session(session_id)
        if live is not None and not 0 < generation <= live.generation:
            live.hand_over()
            self._hub.remove(live)
            self.left(live)
            if live.call_id is not None:
                # Its budget was kept here: the node that goes on with the call has to learn what is left of it.
                self.run_soon(self._leaving.step_away(live))

    def superseded(self, row: SessionRow, by: LiveSession) -> None:
        """The row stood where that of a newer session of the same device, of this node, stands now."""
        if row.node_id != self._router.node_id:
            self._router.forward(row.node_id, SessionTaken(row.session_id, by.generation))
            return
        self._handovers.taken(row.session_id, by.generation)
        # The row is the new session's: this takes the one before it off the list of the node's sessions.
        self.run_soon(self._leaving.unlist_quietly(by, row.node_id, row.session_id))

    async def bury(self, live: LiveSession) -> None:
        """Ends a session that never came here, though its row did: what its device has is given back. Raises: Unavailable."""
        live.call_id = await self._lobby.call_of(live.user_id, live.device_id)
        live.is_over = True
        logger.info("session is over that did not come", session_id=live.id, call_id=live.call_id)
        await self._leaving.say_farewell(live)
