"""`GET /interactions/{call_id}/ice-servers`: who gets credentials, and when."""

from typing import Any

import msgspec
import pytest

from base.clock import SystemClock
from base.ids import UserId
from signaling.call.record import Call
from signaling.call.states import EndReason, State
from signaling.turn import password_of
from tests.contract.calls.call_records import proposed
from tests.integration.rest.conftest import ICE


async def ask(house: Any, call_id: str, person: dict[str, Any]) -> Any:
    return await house.get(f"/api/v1/interactions/{call_id}/ice-servers", person["access_token"])


def standing(house: Any, call: Call, **changes: Any) -> Call:
    """The call as the hubs know it."""
    call = msgspec.structs.replace(call, **changes)
    house.attendance.calls[call.call_id] = call
    return call


async def test_a_participant_gets_credentials_for_the_own_seat(house: Any) -> None:
    """STUN as it is, TURN with a user name of this call and seat, and until when it holds."""
    her, him = await house.sign_up(), await house.sign_up(gender="male")
    now_ms = SystemClock().wall_ms()
    call = standing(
        house,
        proposed(UserId(her["user"]["id"]), UserId(him["user"]["id"])),
        state=State.CONNECTING,
        deadline_at=now_ms + 20_000,
    )
    answer = await ask(house, call.call_id, him)
    data = (await answer.json())["data"]
    stun, turn = data["ice_servers"]
    seat = call.seat_of(UserId(him["user"]["id"]))

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert stun == {"urls": ["stun:stun.example:3478"]}
    assert turn["username"] == f"{data['expires_at'] // 1000}:{call.call_id}.{seat}"
    assert ICE.turn is not None
    assert turn["credential"] == password_of(turn["username"], ICE.turn.secret)
    assert now_ms < data["expires_at"] <= now_ms + ICE.turn.credential_ms


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({}, 409, "bad_state"),
        ({"state": State.DECIDING}, 409, "bad_state"),
        ({"state": State.ENDED, "reason": EndReason.HANGUP, "deadline_at": None}, 409, "call_ended"),
    ],
    ids=["proposed", "deciding", "ended"],
)
async def test_outside_of_media_there_is_nothing_to_have(
    house: Any, changes: dict[str, Any], status: int, code: str
) -> None:
    """Whoever declines, and whoever has hung up, harvests no relay."""
    her, him = await house.sign_up(), await house.sign_up(gender="male")
    call = standing(house, proposed(UserId(her["user"]["id"]), UserId(him["user"]["id"])), **changes)
    answer = await ask(house, call.call_id, her)

    assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)


async def test_a_stranger_learns_nothing_not_even_that_there_is_a_call(house: Any) -> None:
    """The answer about another's call and about none is the same."""
    her, him, stranger = await house.sign_up(), await house.sign_up(gender="male"), await house.sign_up()
    call = standing(
        house, proposed(UserId(her["user"]["id"]), UserId(him["user"]["id"])), state=State.CONNECTING
    )
    of_others = await (await ask(house, call.call_id, stranger)).json()
    of_none = await (await ask(house, "0191a2b3-0000-7000-8000-0123456789ab", stranger)).json()

    assert of_others["error"]["code"] == of_none["error"]["code"] == "not_a_participant"
    assert of_others["error"]["message"] == of_none["error"]["message"]
