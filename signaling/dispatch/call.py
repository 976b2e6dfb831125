"""The `call`, `video`, `connect` and `safety` families: from message to event of the call."""

from collections.abc import Mapping
from typing import Any, Literal, assert_never

from base.errors import ErrorCode, MinuetError
from base.ids import CallId, ConnectionId, IdFactory, UserId
from signaling.call import events
from signaling.call.states import Seat
from signaling.calls import CallService, EventOf
from signaling.connecting import Connecting
from signaling.live_session import LiveSession
from signaling.local_call import LocalCalls
from signaling.owed_commands import OwedCommands, Restriction
from signaling.protocol.messages import call as wire

CallMessage = (
    wire.CallAccept
    | wire.CallDecline
    | wire.CallMedia
    | wire.CallExtend
    | wire.CallExtendReply
    | wire.CallHangup
    | wire.VideoRequest
    | wire.VideoApprove
    | wire.VideoDeny
    | wire.VideoRevoke
    | wire.ConnectRequest
    | wire.ConnectPass
)


class CallCommands:
    """Lets a participant act on a call, over WebSocket or REST."""

    def __init__(
        self,
        calls: CallService,
        local: LocalCalls,
        owed: OwedCommands,
        connecting: Connecting,
        ids: IdFactory,
    ) -> None:
        self._calls = calls
        self._connecting = connecting
        self._owed = owed
        self._local = local
        self._ids = ids

    async def handle(self, live: LiveSession, message: CallMessage) -> Mapping[str, Any]:
        """Does what a device of the call asks. Raises: as `CallService.act`."""
        call_id = CallId(message.call_id)
        if isinstance(message, wire.CallMedia) and message.stats is not None:
            stats = message.stats
            await self._calls.act(
                call_id,
                live.user_id,
                lambda seat: events.QualityReported(seat, stats),
                device_id=live.device_id,
            )
        reply = await self._calls.act(
            call_id, live.user_id, self._event_of(call_id, message), device_id=live.device_id
        )
        if isinstance(message, wire.ConnectRequest):
            return await self._connect(call_id, live.user_id, reply)
        return reply

    # The REST twins: from any device of the participant. Those that only take something away answer None where the
    # call cannot be reached: then they are done later.

    async def connect(self, call_id: str, user_id: str) -> dict[str, Any]:
        """`POST /interactions/{call_id}/connect`."""
        reply = await self._ask(call_id, user_id, self._wish)
        return await self._connect(CallId(call_id), UserId(user_id), reply)

    async def pass_by(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """`POST /interactions/{call_id}/pass`."""
        return await self._insist(call_id, user_id, events.ConnectPassed)

    async def request_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        """`POST /interactions/{call_id}/video-request`."""
        return await self._ask(call_id, user_id, events.VideoRequested)

    async def approve_video(
        self, call_id: str, user_id: str, direction: Literal["both", "receive"]
    ) -> dict[str, Any]:
        """`POST /interactions/{call_id}/video-approval`."""
        return await self._ask(call_id, user_id, lambda seat: events.VideoApproved(seat, direction))

    async def deny_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        """`POST /interactions/{call_id}/video-denial`; one that is lost is made good by the request's own time."""
        return await self._ask(call_id, user_id, events.VideoDenied)

    async def revoke_video(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """`POST /interactions/{call_id}/video-revocation`."""
        return await self._insist(call_id, user_id, events.VideoRevoked)

    async def hang_up(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        """`POST /interactions/{call_id}/hangup`."""
        return await self._insist(call_id, user_id, events.HungUp)

    async def _connect(self, call_id: CallId, user_id: UserId, reply: Mapping[str, Any]) -> dict[str, Any]:
        """After the wish is in the record, and outside the call's lock: a database may be slow to take a connection."""
        if not reply.get("connected"):
            return dict(reply)
        call, _ = await self._calls.participant(call_id, user_id)
        return await self._connecting.follow(call, reply)

    async def _ask(self, call_id: str, user_id: str, event_of: EventOf) -> dict[str, Any]:
        return dict(await self._calls.act(CallId(call_id), UserId(user_id), event_of))

    async def _insist(self, call_id: str, user_id: str, restriction: Restriction) -> dict[str, Any] | None:
        done = await self._owed.act(CallId(call_id), UserId(user_id), restriction)
        return None if done is None else dict(done)

    # From message to event.

    def _event_of(self, call_id: CallId, message: CallMessage) -> EventOf:
        match message:
            case wire.CallAccept():
                return events.Accepted
            case wire.CallDecline():
                return events.Declined
            case wire.CallHangup():
                return events.HungUp
            case wire.CallMedia(state=state):
                return self._media(call_id, state)
            case wire.CallExtend():
                return events.ExtensionRequested
            case wire.CallExtendReply(accept=accept):
                return lambda seat: events.ExtensionAnswered(seat, accept)
            case wire.VideoRequest():
                return events.VideoRequested
            case wire.VideoApprove(direction=direction):
                return lambda seat: events.VideoApproved(seat, direction)
            case wire.VideoDeny():
                return events.VideoDenied
            case wire.VideoRevoke():
                return events.VideoRevoked
            case wire.ConnectRequest():
                return self._wish
            case wire.ConnectPass():
                return events.ConnectPassed
            case _:
                assert_never(message)

    def _media(self, call_id: CallId, state: str) -> EventOf:
        match state:
            case "connected":
                local = self._local.get(call_id)
                answered = local is not None and local.negotiations.answered
                return lambda seat: events.MediaConnected(seat, answer_relayed=answered)
            case "disconnected":
                return events.MediaDisconnected
            case "failed":
                return events.MediaFailed
            case _:
                raise MinuetError(f"no such media state: {state}", code=ErrorCode.INVALID_MESSAGE)

    def _wish(self, seat: Seat) -> events.Event:
        return events.ConnectRequested(seat, ConnectionId(self._ids.new()))
