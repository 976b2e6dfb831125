"""The `safety` family: blocking and reporting, in every state of a call and after it."""

from collections.abc import Mapping
from typing import Any

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError
from base.ids import CallId
from safety.records import ReportCategory
from safety.service import Safety
from signaling.call import events
from signaling.calls import CallService
from signaling.live_session import LiveSession
from signaling.protocol.messages.call import SafetyBlock, SafetyReport


class SafetyCommands:
    """Keeps people apart, and tells the moderators."""

    def __init__(self, safety: Safety, calls: CallService, clock: ServerClock) -> None:
        self._safety = safety
        self._calls = calls
        self._clock = clock

    async def block(self, live: LiveSession, message: SafetyBlock) -> Mapping[str, Any]:
        """Ends the call for both and never lets the two meet again.

        Raises: MinuetError (`not_a_participant`), Unavailable where the block could not be kept: the call is over
        for both all the same, and the client sends the block again.
        """
        call_id = _call_id(message)
        call, seat = await self._calls.participant(call_id, live.user_id)
        try:
            await self._safety.block(
                live.user_id, call.peer(seat).user_id, call_id=call_id, now_ms=self._clock.now_ms()
            )
        finally:
            await self._calls.act(call_id, live.user_id, events.Blocked)
        return {}

    async def report(self, live: LiveSession, message: SafetyReport) -> Mapping[str, Any]:
        """Stores a report for the moderators. Raises: MinuetError (`not_a_participant`), Unavailable."""
        call_id = _call_id(message)
        call, seat = await self._calls.participant(call_id, live.user_id)
        await self._safety.report(
            live.user_id,
            call.peer(seat).user_id,
            call_id=call_id,
            category=ReportCategory(message.category),
            note=message.note,
            now_ms=self._clock.now_ms(),
        )
        return {}


def _call_id(message: SafetyBlock | SafetyReport) -> CallId:
    if message.call_id is None:
        raise MinuetError(code=ErrorCode.NOT_CONNECTED)
    return CallId(message.call_id)
