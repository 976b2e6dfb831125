"""`call.ice_servers`: fresh servers before an ICE restart, over WebSocket or REST."""

from collections.abc import Mapping
from typing import Any

import msgspec

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError
from base.ids import CallId, UserId
from signaling.feedback import Participants
from signaling.live_session import LiveSession
from signaling.protocol.messages.call import CallIceServersRequest, IceServer
from signaling.turn import IceServers, mint


class IceServersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """ICE servers for one seat; `expires_at` is null where nothing expires."""

    call_id: str
    ice_servers: list[IceServer]
    expires_at: int | None


class IceServersCommand:
    """Answers with the ICE servers of a call, minted anew for whoever asks."""

    def __init__(self, calls: Participants, ice: IceServers, clock: ServerClock) -> None:
        self._calls = calls
        self._ice = ice
        self._clock = clock

    async def handle(self, live: LiveSession, message: CallIceServersRequest) -> Mapping[str, Any]:
        """For the device that is in the call. Raises: as `ice_servers`, and MinuetError `wrong_device`."""
        answer = await self._mint(CallId(message.call_id), live.user_id, live.device_id)
        return dict(msgspec.to_builtins(answer))

    async def ice_servers(self, call_id: str, user_id: str) -> IceServersAnswer:
        """For any device of a participant: `GET /interactions/{call_id}/ice-servers`.

        Raises: MinuetError (`not_a_participant`), NoIceServers where the call sets up no media, Unavailable.
        """
        return await self._mint(CallId(call_id), UserId(user_id), None)

    async def _mint(self, call_id: CallId, user_id: UserId, device_id: str | None) -> IceServersAnswer:
        call, seat = await self._calls.participant(call_id, user_id)
        if device_id is not None and call.seat(seat).device_id != device_id:
            raise MinuetError(code=ErrorCode.WRONG_DEVICE)
        minted = mint(self._ice, call, seat, self._clock.now_ms())
        return IceServersAnswer(
            call_id=call.call_id, ice_servers=list(minted.servers), expires_at=minted.expires_at
        )
