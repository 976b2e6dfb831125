"""After a loss: what is on a part of the store that is away keeps nobody else from being put back."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import CallId
from signaling import restoring
from signaling.restoring import Restoration
from tests.unit.signaling.hub.live_scene import Scene


@dataclass
class World:
    """Hub, rows, tickets, lobby, calls and their seats at once; notes in which order it is asked."""

    sessions: list[Any]
    is_away: bool = True
    """The part of the store that has the calls."""
    done: list[str] = field(default_factory=list)

    def __iter__(self) -> Any:
        return iter(self.sessions)

    async def register_again(self, live: Any, *, blocks_later: bool) -> bool:
        self.done.append(f"row of {'somebody in a call' if live.call_id else 'somebody idle'}")
        return True

    async def reassert_all(self) -> int:
        if self.is_away:
            raise Unavailable
        self.done.append("all calls")
        return 1

    async def restrict_again(self) -> None:
        self.done.append("restrictions")

    async def put_back(self, call_id: CallId) -> bool:
        if self.is_away:
            raise Unavailable
        self.done.append("the call")
        return True

    def seat_of(self, live: Any) -> None:
        if live.call_id:
            self.done.append("activity")

    async def restore(self, live: Any) -> bool:
        self.done.append(f"ticket of {'somebody in a call' if live.call_id else 'somebody idle'}")
        return True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(restoring, "JITTER_S", 0.0)
    monkeypatch.setattr(restoring, "_BACKOFF_S", (0.01,))
    idle, talking = Scene().live, Scene().live
    talking.enter_call(CallId("call"))
    return World([talking, idle])


async def until(world: World, what: str) -> None:
    async with asyncio.timeout(10):
        while what not in world.done:
            await asyncio.sleep(0.005)


async def test_a_part_that_is_away_delays_only_who_needs_it(world: World) -> None:
    """Rows and tickets of all others are there at once; what the part has follows when it is back."""
    running = asyncio.create_task(Restoration(world, world, world, world, world, world).run())  # type: ignore[arg-type]  # one plays all parts
    await until(world, "ticket of somebody idle")
    while_away = list(world.done)
    is_done_while_away = running.done()
    world.is_away = False
    await asyncio.wait_for(running, 10)

    assert "restrictions" in while_away
    assert "the call" not in while_away
    assert "ticket of somebody in a call" not in while_away
    assert not is_done_while_away
    assert "all calls" in world.done
    assert "ticket of somebody in a call" in world.done


async def test_a_record_is_there_before_the_slot_names_it(world: World) -> None:
    """Whoever may not do something because of an activity looks at its call, and would find none."""
    world.is_away = False
    await Restoration(world, world, world, world, world, world).run()  # type: ignore[arg-type]  # one plays all parts

    assert world.done.index("the call") < world.done.index("activity")
