"""A node that has become another incarnation makes its sessions known again, whatever is wrong with one of them."""

from types import SimpleNamespace
from typing import Any

import pytest

from base.errors import Unavailable
from signaling.reasserting import AT_ONCE, Reasserting


class World:
    """Hub, rows, and what devices were doing at once: some sessions are on a part of the store that is away."""

    def __init__(self, sessions: int) -> None:
        self.sessions = [
            SimpleNamespace(id=number, is_attached=True, call_id=None) for number in range(sessions)
        ]
        self.away: set[int] = set()
        self.odd: set[int] = set()
        self.back: list[int] = []

    def __iter__(self) -> Any:
        return iter(self.sessions)

    async def register_again(self, live: Any) -> bool:
        if live.id in self.away:
            raise Unavailable
        if live.id in self.odd:
            raise ValueError("a record of a newer release")
        return True

    async def come_back(self, live: Any) -> None:
        self.back.append(live.id)


def reasserting(world: World) -> Reasserting:
    everything: Any = world
    return Reasserting(everything, everything, everything, everything)


async def test_those_on_a_part_of_the_store_that_is_away_keep_nobody_else_unknown() -> None:
    """And whoever asked hears of it, to ask again."""
    world = World(AT_ONCE + 2)
    world.away = {0}

    with pytest.raises(Unavailable):
        await reasserting(world).run()
    assert world.back == list(range(1, AT_ONCE + 2))


async def test_a_session_that_fails_is_left_alone() -> None:
    """It would fail again, and the node would never be ready."""
    world = World(AT_ONCE + 2)
    world.odd = {1}
    await reasserting(world).run()

    assert world.back == [0, *range(2, AT_ONCE + 2)]
