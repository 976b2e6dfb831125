"""`call.ice_servers`: to whom it is answered."""

from types import SimpleNamespace
from typing import Any

import pytest

from base.clock import ManualClock, ServerClock
from base.errors import ErrorCode, MinuetError
from base.ids import CallId, UserId
from signaling.call.record import Call
from signaling.call.states import Seat
from signaling.dispatch.ice import IceServersCommand
from signaling.protocol.messages.call import CallIceServersRequest
from signaling.turn import IceServers, NoIceServers, TurnServers
from tests.unit.signaling.call.conversation import CALL_ID, Conversation

ICE = IceServers((), TurnServers(("turn:turn.example:3478",), "what the hub and coturn share"))


class Attendance:
    """One call."""

    def __init__(self, call: Call) -> None:
        self.call = call

    async def participant(self, call_id: CallId, user_id: UserId) -> tuple[Call, Seat]:
        seat = self.call.seat_of(user_id) if call_id == self.call.call_id else None
        if seat is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return self.call, seat


def command(call: Call) -> IceServersCommand:
    return IceServersCommand(Attendance(call), ICE, ServerClock(ManualClock()))


def session(user_id: str, device_id: str) -> Any:
    return SimpleNamespace(user_id=user_id, device_id=device_id)


async def ask(call: Call, user_id: str, device_id: str) -> dict[str, Any]:
    answer = await command(call).handle(session(user_id, device_id), CallIceServersRequest(call_id=CALL_ID))
    return dict(answer)


async def test_the_device_in_the_call_gets_what_the_wire_can_carry() -> None:
    """Plain values: the same as in the message that was pushed."""
    answer = await ask(Conversation.connecting().call, "user-a", "device-a")

    [turn] = answer["ice_servers"]
    assert answer["call_id"] == CALL_ID
    assert set(turn) == {"urls", "username", "credential"}
    assert isinstance(answer["expires_at"], int)


async def test_another_device_of_the_same_person_is_refused_on_a_socket_and_not_over_rest() -> None:
    """A socket speaks for one device; REST speaks for the person, as its other twins do."""
    call = Conversation.live().call
    with pytest.raises(MinuetError) as refusal:
        await ask(call, "user-b", "another device")
    over_rest = await command(call).ice_servers(CALL_ID, "user-b")

    assert refusal.value.code is ErrorCode.WRONG_DEVICE
    assert (over_rest.ice_servers[0].username or "").endswith(f"{CALL_ID}.b")


async def test_others_and_those_who_have_not_both_accepted_get_nothing() -> None:
    """Neither is told more than that."""
    with pytest.raises(MinuetError) as stranger:
        await ask(Conversation.live().call, "somebody", "device-a")
    with pytest.raises(NoIceServers) as early:
        await ask(Conversation.proposed().call, "user-a", "device-a")

    assert stranger.value.code is ErrorCode.NOT_A_PARTICIPANT
    assert early.value.code is ErrorCode.BAD_STATE
