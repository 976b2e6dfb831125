"""A resume that fails half-way: its session's row names this node by then, and its client may never come again."""

import asyncio
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId
from presence.errors import BegunAnew
from presence.sessions import SessionRow
from signaling import opening
from signaling.chores import Chores
from signaling.greeting import Greeting
from signaling.live_session import LiveSession
from signaling.opening import Opening
from signaling.protocol.messages.session import SessionResume
from signaling.resuming import Outcome
from tests.unit.signaling.hub.house_of_return import RESUME, House
from tests.unit.signaling.hub.live_scene import CALL, Scene


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


class Left(House):
    """Whose session did not come from its node, and whose client has left meanwhile and begun anew on another socket."""

    def __init__(self) -> None:
        super().__init__(Scene())
        self.row = SessionRow(DeviceId(CALL), NodeId("here"), SessionId(CALL), 7)
        self.taken_over: list[object] = []
        self.chores = Chores()
        rest: Any = self
        self.opening = Opening(rest, rest, rest, rest, self.chores, self.scene.live._shell.metrics)

    async def resume(self, greeting: Greeting, _first: object, _identity: object) -> tuple[None, Outcome]:
        greeting.gone = True
        return None, Outcome.NO_ANSWER

    async def row_left(self, _first: object, _identity: object) -> SessionRow:
        return self.row

    def refuse_unknown(self) -> None:
        """The store has lost nothing."""

    async def start(
        self, _greeting: Greeting, _device_id: DeviceId, _identity: object, *, instead_of: SessionRow | None
    ) -> LiveSession:
        self.taken_over.append(instead_of)
        raise BegunAnew

    async def bury(self, _codec: object, _first: object, _identity: object) -> None:
        """Finds no row of that session any more."""


async def test_who_goes_on_for_a_client_that_has_left_supersedes_nothing_that_it_began_since() -> None:
    """Its new socket would be closed with 4501, after which no client comes again."""
    house = Left()
    running = asyncio.create_task(house.chores.run())
    await asyncio.sleep(0)
    house.hears("session.resume", 1, RESUME)
    await asyncio.gather(*house.work)
    running.cancel()

    assert house.taken_over == [house.row]
    assert house.wire.messages() == []
