"""The end of a session on a node that its device has left: what is cleared up, and what is nobody's business any more."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import CallId, NodeId, SessionId
from presence.sessions import Registration, SessionRow
from signaling import leaving
from signaling.leaving import Leaving
from tests.unit.signaling.hub.live_scene import Scene

HERE, ELSEWHERE = NodeId("here"), NodeId("elsewhere")


@dataclass
class World:
    """Registry, tickets and calls at once: notes what it is asked to do."""

    row: SessionRow | None = None
    away: int = 0
    """How many questions are not answered."""
    node_id: NodeId = HERE
    done: list[str] = field(default_factory=list)

    async def where(self, *_who: object) -> SessionRow | None:
        if self.away:
            self.away -= 1
            raise Unavailable
        return self.row

    async def unregister(self, registration: Registration, generation: int) -> bool:
        self.done.append(f"unregister {registration.session_id} {generation}")
        return True

    async def leave(self, *what: object) -> None:
        self.done.append("hang up" if len(what) == 2 else "leave the queue")


async def ended(world: Any, *, in_call: bool) -> list[str]:
    """What is done after the session "session", generation 1, of "device" has ended here."""
    scene = Scene()
    if in_call:
        scene.live.enter_call(CallId("call"))
    await Leaving(world, world, world, world).say_farewell(scene.live)
    done: list[str] = world.done
    return done


def row(session: str, generation: int, node: NodeId = HERE) -> SessionRow:
    return SessionRow(Scene().live.device_id, node, SessionId(session), generation)


@pytest.mark.parametrize("in_call", [True, False])
@pytest.mark.parametrize("known", [row("session", 1), None], ids=["its row", "no row"])
async def test_a_session_that_ends_gives_up_what_its_device_was_doing(
    known: SessionRow | None, in_call: bool
) -> None:
    """It hangs up or leaves the queue, and takes itself off the list."""
    done = await ended(World(known), in_call=in_call)

    assert done == ["hang up" if in_call else "leave the queue", "unregister session 1"]


@pytest.mark.parametrize("in_call", [True, False])
@pytest.mark.parametrize(
    "known",
    [row("session", 2, ELSEWHERE), row("session", 2), row("next", 2, ELSEWHERE), row("next", 2)],
    ids=["moved", "resumed", "begun anew elsewhere", "begun anew"],
)
async def test_a_late_end_touches_nothing_that_goes_on(known: SessionRow, in_call: bool) -> None:
    """The device has a newer generation of it, here or elsewhere: its call and its place are that one's."""
    done = await ended(World(known), in_call=in_call)

    assert done == ["unregister session 1"]


async def test_the_end_is_cleared_up_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again, for seconds."""
    monkeypatch.setattr(leaving, "_BACKOFF_S", (0.0, 0.0, 0.0))
    done = await ended(World(row("session", 1), away=2), in_call=True)

    assert done == ["hang up", "unregister session 1"]
