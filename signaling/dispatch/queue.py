"""The `queue` family: joining and leaving."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from matchmaker.lobby import Joined, JoinRequest, Lobby
from matchmaker.ports import Caller
from matchmaker.ticket import Person
from signaling.dispatch.presence import PresenceCommands
from signaling.live_session import LiveSession
from signaling.protocol.messages.queue import QueueJoin
from signaling.rows import Rows
from signaling.seating import Seating

_OWED_MS: Final = 500


class Directory(Protocol):
    """Knows people. Raises: MinuetError (no account, banned), Unavailable."""

    async def person(self, user_id: str) -> Person: ...


class QueueCommands:
    """Lets a device wait for a partner."""

    def __init__(
        self,
        lobby: Lobby,
        seating: Seating,
        directory: Directory,
        presence: PresenceCommands,
        rows: Rows,
        clock: ServerClock,
    ) -> None:
        self._lobby = lobby
        self._presence = presence
        self._seating = seating
        self._directory = directory
        self._rows = rows
        self._clock = clock

    async def join(self, live: LiveSession, message: QueueJoin) -> Mapping[str, Any]:
        """Starts waiting; whoever still decides about a call passes by that. Raises: as `Lobby.join`."""
        person = await self._directory.person(live.user_id)
        # Who asks to meet somebody is here; and nobody is matched who is away.
        await self._presence.come_back(live)
        await self._seating.stand_up(live)
        # Told to be back in the queue a moment ago: that place is the one to keep.
        await self._seating.settled(live)

        def join(caller: Caller) -> Awaitable[Joined]:
            return self._lobby.join(
                JoinRequest(
                    user_id=live.user_id,
                    device_id=live.device_id,
                    session_id=live.id,
                    node_id=self._rows.node_id,
                    intent=message.intent,
                    preferences=message.preferences,
                    person=person,
                    generation=caller.generation,
                )
            )

        try:
            joined = await self._rows.act(live, join)
        except MinuetError as error:
            if error.code is ErrorCode.IN_CALL and self._seating.owes_release(live.user_id):
                # The store was away when it ended, and is about to hear of it.
                raise Unavailable(retry_after_ms=_OWED_MS) from error
            raise
        if _is_over(live):
            # Its farewell may have looked for a place before this one stood there.
            await self._lobby.leave(live.user_id, live.device_id, joined.ticket)
        # The match may have been quicker than this answer; then the ticket is in the call already.
        if live.call_id is None or live.ticket is None:
            live.ticket = joined.ticket
        return {
            "intent": joined.ticket.intent,
            "ticket_id": joined.ticket_id,
            "queued_at": joined.queued_at,
            "server_now": self._clock.now_ms(),
        }

    async def leave(self, live: LiveSession) -> Mapping[str, Any]:
        """Stops waiting; nothing to leave is fine. Raises: as `Lobby.leave`."""
        # Told to be back in the queue a moment ago: that place is the one to leave.
        await self._seating.settled(live)
        await self._lobby.leave(live.user_id, live.device_id, live.ticket)
        live.ticket = None
        return {}


def _is_over(live: LiveSession) -> bool:
    return live.is_over
