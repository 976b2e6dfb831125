"""A socket that goes while the store is still being told that its session is here."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from base.errors import Unavailable
from base.ids import CallId
from signaling.live_session import LiveSession
from signaling.regaining import Regaining
from tests.unit.signaling.hub.live_scene import CALL, Scene


class Told:
    """Calls and tickets of sessions that lose their socket as soon as anybody asks for them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = False

    def drop(self, live: LiveSession) -> None:
        live.close(4000, "lost")
        if self.away:
            self.away = False
            raise Unavailable

    async def attach(self, _call_id: CallId, live: LiveSession) -> None:
        self.drop(live)
        self.said.append("attached")

    async def detach(self, _call_id: CallId, _live: LiveSession) -> None:
        self.said.append("detached")

    async def resume(self, live: LiveSession) -> None:
        self.drop(live)
        self.said.append("resumed")

    async def pause(self, _live: LiveSession) -> None:
        self.said.append("paused")


def in_a_call(live: LiveSession) -> list[str]:
    live.call_id = CallId(CALL)
    return ["attached", "detached"]


def in_the_queue(live: LiveSession) -> list[str]:
    live.ticket = cast("Any", SimpleNamespace(intent="dating", ticket_id="one"))
    return ["resumed", "paused"]


@pytest.mark.parametrize("is_away", [False, True], ids=["at once", "as soon as the store is back"])
@pytest.mark.parametrize("busy", [in_a_call, in_the_queue])
async def test_the_last_word_is_that_it_has_gone(
    busy: Callable[[LiveSession], list[str]], is_away: bool
) -> None:
    """What its going told the store came before, or to nobody: the peer would talk to a session that is not there."""
    scene, told = Scene(), Told()
    told.away = is_away
    last_words = busy(scene.live)
    nobody: Any = SimpleNamespace(node_id="node")
    regaining = Regaining(nobody, nobody, cast("Any", told), cast("Any", told), nobody)

    await regaining.settle_in(scene.live, moved=False)
    await scene.services.settled()

    assert told.said == last_words
