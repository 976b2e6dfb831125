"""A resume that fails half-way: its session's row names this node by then, and its client may never come again."""

import asyncio
from typing import Any

import pytest

from base.errors import Unavailable
from signaling import opening
from signaling.chores import Chores
from signaling.greeting import Greeting
from signaling.opening import Opening
from signaling.protocol.messages.session import SessionResume
from tests.unit.signaling.hub.house_of_return import RESUME, House
from tests.unit.signaling.hub.live_scene import Scene


class Halfway(House):
    """Whose store is away as soon as the row was set."""

    def __init__(self) -> None:
        super().__init__(Scene())
        self.chores = Chores()
        self.is_buried = asyncio.Event()
        rest: Any = self
        self.opening = Opening(rest, rest, rest, rest, self.chores, self.scene.live._shell.metrics)

    async def resume(self, _greeting: Greeting, _first: SessionResume, _identity: object) -> None:
        raise Unavailable

    async def bury(self, _codec: object, first: SessionResume, _identity: object) -> None:
        assert first.session_id == RESUME["session_id"]
        self.is_buried.set()


async def test_what_it_leaves_is_ended_when_the_client_has_had_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at once: the client is told to try again, and finds ticket and call as they were."""
    monkeypatch.setattr(opening, "DETACHED_MS", 200)
    house = Halfway()
    running = asyncio.create_task(house.chores.run())
    house.hears("session.resume", 1, RESUME)
    await asyncio.gather(*house.work)
    is_ended_at_once = house.is_buried.is_set()
    async with asyncio.timeout(10):
        await house.is_buried.wait()
    running.cancel()

    assert [message["type"] for message in house.wire.messages()] == ["error"]
    assert not is_ended_at_once
