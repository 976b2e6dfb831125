"""Sending everybody elsewhere: also who is just being let in, and what those hear of it who are not there."""

import asyncio
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from base.errors import CloseCode
from signaling.chores import Chores
from signaling.draining import Draining
from signaling.hub import Hub
from signaling.metrics import SessionMetrics
from tests.unit.signaling.hub.live_scene import Scene


class House:
    """A hub that is left."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.scene.live._early = None  # it has been greeted
        self.hub = Hub(self.scene.clock, SessionMetrics(CollectorRegistry()))
        self.draining = Draining(self.hub, Chores(), self.scene.clock, Random(1))

    def types(self) -> list[str]:
        return [message["type"] for message in self.scene.wire.messages()]

    async def until_gone(self, running: "asyncio.Task[None]") -> None:
        async with asyncio.timeout(10):
            while self.scene.live.is_attached:
                await asyncio.sleep(0)
        self.hub.remove(self.scene.live)  # as if it had gone on elsewhere
        await running


@pytest.fixture
async def house() -> House:
    return House()


async def test_who_is_let_in_as_the_draining_begins_is_sent_away_too(house: House) -> None:
    """Its session may be opened seconds after its first message: it must not be cut off with the process."""
    others = Scene().live
    house.hub.add(others)
    running = asyncio.create_task(house.draining.drain(10))
    async with asyncio.timeout(10):
        while others.is_attached:
            await asyncio.sleep(0)
    house.hub.remove(others)
    house.hub.add(house.scene.live)
    await house.until_gone(running)

    assert house.types() == ["session.drain"]
    assert house.scene.wire.close_code() == CloseCode.DRAIN


async def test_what_was_told_and_is_not_stored_yet_is_waited_for(house: House) -> None:
    """Its people are in no call any more, and leave with nothing: whoever is elsewhere has to learn it from the store."""
    owed = [True]
    house.draining.owes = lambda: bool(owed)
    running = asyncio.create_task(house.draining.drain(10))
    await asyncio.sleep(0.1)
    waits = not running.done()
    owed.clear()
    async with asyncio.timeout(10):
        await running

    assert waits


async def test_who_is_not_there_is_not_told_on_the_next_node_to_leave_it(house: House) -> None:
    """The news is of this node and of this moment: a replay of it would send a client away that has just come."""
    house.hub.add(house.scene.live)
    house.scene.live.close(CloseCode.INTERNAL, "lost")
    await house.draining.drain(0)
    wire, _ = house.scene.connect()
    house.scene.live.replay(0)

    assert wire.messages() == []


async def test_who_was_told_and_did_not_hear_it_is_not_told_again(house: House) -> None:
    """Its socket was dead, and nobody knew."""
    house.hub.add(house.scene.live)
    await house.draining.drain(0)
    wire, _ = house.scene.connect()
    house.scene.live.replay(0)

    assert house.types() == ["session.drain"]
    assert wire.messages() == []
