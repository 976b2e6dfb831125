"""The `safety` family: blocking and reporting, in every state of a call and after it, and in a chat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from base.clock import ServerClock
from base.errors import MinuetError, Unavailable
from base.ids import CallId, ConnectionId, UserId
from matchmaker.activity import InCall
from matchmaker.ports import Slot
from safety.records import ReportCategory
from safety.service import Safety
from signaling.call import events
from signaling.calls import CallService
from signaling.dispatch.chat import ChatCommands
from signaling.live_session import LiveSession
from signaling.protocol.messages.call import SafetyBlock, SafetyReport


class Slots(Protocol):
    """What users are in. Raises Unavailable."""

    async def read(self, user_id: UserId) -> Slot: ...


class PastCalls(Protocol):
    """What history knows. Raises Unavailable."""

    async def partner(self, call_id: CallId, user_id: UserId) -> UserId | None:
        """Who talked with the user in that call; None where history does not have it so."""
        ...


@dataclass(frozen=True, slots=True)
class _About:
    """Who is meant, and by what they were named; `is_past`: a call that only history knows."""

    other: UserId
    call_id: CallId | None = None
    connection_id: ConnectionId | None = None
    is_past: bool = False


class SafetyCommands:
    """Keeps people apart, and tells the moderators; over WebSocket or REST."""

    def __init__(
        self,
        safety: Safety,
        calls: CallService,
        past: PastCalls,
        chat: ChatCommands,
        slots: Slots,
        clock: ServerClock,
    ) -> None:
        self._safety = safety
        self._past = past
        self._calls = calls
        self._chat = chat
        self._slots = slots
        self._clock = clock

    async def handle(self, live: LiveSession, message: SafetyBlock | SafetyReport) -> Mapping[str, Any]:
        """Does what a device asks. Raises: as the two below."""
        if isinstance(message, SafetyReport):
            report_id = await self.report(
                live.user_id,
                call_id=message.call_id,
                connection_id=message.connection_id,
                category=message.category,
                note=message.note,
            )
            return {"report_id": report_id}
        block_id = await self.block(
            live.user_id, call_id=message.call_id, connection_id=message.connection_id
        )
        return {"block_id": block_id}

    async def block(self, by: str, *, call_id: str | None, connection_id: str | None) -> str:
        """Ends what the two have, call and connection, and never lets them meet again; the block's id.

        Raises: MinuetError (`not_a_participant`, `not_connected`), Unavailable where the block could not be kept: the
        call is over for both all the same, and the client sends the block again.
        """
        user_id = UserId(by)
        about = await self._about(user_id, call_id, connection_id)
        now_ms = self._clock.now_ms()
        try:
            block_id = await self._safety.block(user_id, about.other, call_id=about.call_id, now_ms=now_ms)
        finally:
            await self._end_call(user_id, about)
        await self._chat.part(user_id, about.other, now_ms)
        return block_id

    async def report(
        self,
        by: str,
        *,
        call_id: str | None,
        connection_id: str | None,
        category: ReportCategory,
        note: str,
    ) -> str:
        """Stores a report for the moderators; its id. Raises: as `block`, Unavailable."""
        user_id = UserId(by)
        about = await self._about(user_id, call_id, connection_id)
        return await self._safety.report(
            user_id,
            about.other,
            call_id=about.call_id,
            connection_id=about.connection_id,
            category=category,
            note=note,
            now_ms=self._clock.now_ms(),
        )

    async def _about(self, user_id: UserId, call_id: str | None, connection_id: str | None) -> _About:
        if call_id is not None:
            return await self._of_call(user_id, CallId(call_id))
        if connection_id is None:
            raise ValueError("neither a call nor a connection")
        other = await self._chat.ever_with(user_id, connection_id)
        return _About(other, connection_id=ConnectionId(connection_id))

    async def _of_call(self, user_id: UserId, call_id: CallId) -> _About:
        try:
            call, seat = await self._calls.participant(call_id, user_id)
        except Unavailable:
            raise
        except MinuetError:
            # Its record is gone, some time after the call; or never was.
            other = await self._past.partner(call_id, user_id)
            if other is None:
                raise
            return _About(other, call_id=call_id, is_past=True)
        return _About(call.peer(seat).user_id, call_id=call_id)

    async def _end_call(self, user_id: UserId, about: _About) -> None:
        if about.call_id is not None and not about.is_past:
            await self._calls.act(about.call_id, user_id, events.Blocked)
            return
        # Named by what is over, or by their connection: they may be in a call with each other at this moment.
        try:
            activity = (await self._slots.read(user_id)).activity
            if isinstance(activity, InCall):
                call, seat = await self._calls.participant(activity.call_id, user_id)
                if call.peer(seat).user_id == about.other:
                    await self._calls.act(activity.call_id, user_id, events.Blocked)
        except Unavailable:
            raise
        except MinuetError:
            return  # the call is gone: nothing to end
