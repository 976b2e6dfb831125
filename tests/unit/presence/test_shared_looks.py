"""Looks that many share: as few as can be, and none of them too old for whoever asked."""

import asyncio

import pytest

from base.errors import Unavailable
from presence.shared_looks import SharedLooks


class Store:
    """Something that changes, and takes its time to answer."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0
        self.is_away = False
        self.answers = asyncio.Event()

    async def look(self) -> int:
        self.looks += 1
        seen = self.value
        await self.answers.wait()
        if self.is_away:
            raise Unavailable
        return seen


async def test_those_who_ask_at_once_share_a_look() -> None:
    """A thousand who arrive in one moment cost one command."""
    store = Store()
    looks = SharedLooks(store.look)
    store.answers.set()

    assert await asyncio.gather(*(looks.ask() for _ in range(1_000))) == [0] * 1_000
    assert store.looks == 1


async def test_nobody_is_told_what_was_true_before_they_asked() -> None:
    """Who asks while a look is under way gets the next one; all who wait for it share it."""
    store = Store()
    looks = SharedLooks(store.look)
    early = asyncio.create_task(looks.ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.value = 1
    late = [asyncio.create_task(looks.ask()) for _ in range(10)]
    await asyncio.sleep(0)
    store.answers.set()

    assert await early == 0
    assert await asyncio.gather(*late) == [1] * 10
    assert store.looks == 2


async def test_a_failure_is_everybodys_and_the_next_look_is_a_new_one() -> None:
    """Nobody waits for ever for a store that was away."""
    store = Store()
    looks = SharedLooks(store.look)
    store.is_away = True
    store.answers.set()
    failed = await asyncio.gather(*(looks.ask() for _ in range(3)), return_exceptions=True)
    store.is_away = False

    assert [type(each) for each in failed] == [Unavailable] * 3
    assert await looks.ask() == 0


async def test_who_gives_up_takes_nothing_from_the_others() -> None:
    """A client that hangs up while its session is opened must not fail everybody who came with it."""
    store = Store()
    looks = SharedLooks(store.look)
    impatient, patient = asyncio.create_task(looks.ask()), asyncio.create_task(looks.ask())
    await asyncio.sleep(0)
    impatient.cancel()
    store.answers.set()

    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await patient == 0
    assert store.looks == 1
