"""A page that is loaded anew in the moment of a match goes on with another session: the match is that one's now."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.sessions import SessionRow
from signaling.call.states import State
from signaling.node_frames import MatchAnnounced
from signaling.rows import Rows
from storage.redis.client import connect
from tests.integration.hub.test_entering_while_leaving import CALL, ELSEWHERE, SHE, Evening, Waiting
from tests.integration.matchmaker.scene import PlayedHealth

PHONE = Waiting().device_id


class Devices:
    """Where her device is, by its row."""

    def __init__(self) -> None:
        self.row: SessionRow | None = None
        self.living = {ELSEWHERE}

    async def where(self, _user_id: UserId, _device_id: DeviceId) -> SessionRow | None:
        return self.row

    async def is_living(self, node_id: NodeId) -> bool:
        return node_id in self.living


@pytest.fixture
async def devices() -> Devices:
    return Devices()


@pytest.fixture
async def evening(redis_url: str, devices: Devices) -> AsyncIterator[Evening]:
    redis = connect(redis_url)
    opened = Evening(redis)
    opened.arrivals._rows = Rows(devices, opened.node.router, PlayedHealth())  # type: ignore[arg-type]  # plays the registry
    yield opened
    await redis.aclose()


def elsewhere() -> SessionRow:
    return SessionRow(PHONE, ELSEWHERE, SessionId("her-next-session"), 2)


def sent_after_her(evening: Evening) -> list[NodeId]:
    bus: Any = evening.node.router._bus
    return [node_id for node_id, frame in bus.way if isinstance(frame, MatchAnnounced)]


def state_of_the_call(evening: Evening) -> State:
    call = evening.node.local.get(CALL)
    assert call is not None
    return call.view.state


async def test_it_is_sent_to_the_node_where_her_device_is_now(evening: Evening, devices: Devices) -> None:
    """Her session here is over by the time that the match comes."""
    match = await evening.matched()
    evening.node.router._hub._by_device.clear()
    devices.row = elsewhere()
    await evening.arrivals.announced(match)

    assert sent_after_her(evening) == [ELSEWHERE]
    assert state_of_the_call(evening) is State.PROPOSED


@pytest.mark.parametrize("has_a_row", [True, False], ids=["its node is dead", "the device is gone"])
async def test_who_is_nowhere_keeps_nobody_waiting(
    evening: Evening, devices: Devices, has_a_row: bool
) -> None:
    """The other side goes back to the queue at once."""
    match = await evening.matched()
    evening.node.router._hub._by_device.clear()
    devices.row = elsewhere() if has_a_row else None
    devices.living = set()
    await evening.arrivals.announced(match)

    assert sent_after_her(evening) == []
    assert state_of_the_call(evening) is State.ENDED


async def test_who_leaves_for_good_while_the_slot_is_asked_keeps_nobody_waiting(
    evening: Evening, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her row is still there, and nobody announces again what is in the slot by now."""
    match = await evening.matched()
    enter_call = evening.scene.lobby.enter_call

    async def and_leaves(*how: Any) -> Any:
        evening.node.router._hub._by_device.clear()
        evening.her.is_over, evening.her.is_attached = True, False
        devices.row = SessionRow(PHONE, evening.node.id, evening.her.id, 1)
        return await enter_call(*how)

    monkeypatch.setattr(evening.scene.lobby, "enter_call", and_leaves)
    await evening.arrivals.announced(match)

    assert state_of_the_call(evening) is State.ENDED


@pytest.mark.parametrize("is_here", [True, False], ids=["on this node", "on another"])
async def test_a_page_that_is_loaded_anew_while_the_slot_is_asked_finds_the_match(
    evening: Evening, devices: Devices, monkeypatch: pytest.MonkeyPatch, is_here: bool
) -> None:
    """Nobody announces it again: the slot is in the call by then, and that is acknowledged."""
    match = await evening.matched()
    enter_call = evening.scene.lobby.enter_call
    anew = Waiting()

    async def and_begins_anew(*how: Any) -> Any:
        entered = await enter_call(*how)
        if not evening.her.is_over:
            evening.her.is_over, evening.her.is_attached = True, False
            known: Any = evening.node.router._hub._by_device
            if is_here:
                known[SHE, PHONE] = anew
            else:
                known.clear()
                devices.row = elsewhere()
        return entered

    monkeypatch.setattr(evening.scene.lobby, "enter_call", and_begins_anew)
    await asyncio.wait_for(evening.arrivals.announced(match), 20)

    assert state_of_the_call(evening) is State.PROPOSED
    assert (anew.call_id == CALL) is is_here
    assert sent_after_her(evening) == ([] if is_here else [ELSEWHERE])
