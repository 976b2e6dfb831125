"""Who shares a read with whom, and what becomes of those who wait where it fails."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from base import gathering as module
from base.gathering import Gathering

PATIENCE_S = 0.5
"""Longer than a busy machine lets anybody stand who is not to seem slow."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", PATIENCE_S)


class Library:
    """Reads when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.doors: list[asyncio.Future[None]] = []

    async def read(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.reads.append(list(keys))
        door: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.doors.append(door)
        await door
        return {key: key.upper() for key in keys if key != "nobody"}

    def open(self, number: int) -> None:
        self.doors[number].set_result(None)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_who_asks_together_shares_a_read_and_who_comes_later_the_next() -> None:
    """One read for the two of one turn; those who come while it is under way wait for another, which begins later."""
    library = Library()
    gathering = Gathering(library.read, at_once=1)

    first = [gathering.ask("ann"), gathering.ask("bob")]
    await turns()
    later = [gathering.ask("ann"), gathering.ask("eve"), gathering.ask("nobody")]
    await turns()
    library.open(0)
    answers = [await answer for answer in first]
    await turns()
    library.open(1)

    assert answers == ["ANN", "BOB"]
    assert [await answer for answer in later] == ["ANN", "EVE", None]
    assert library.reads == [["ann", "bob"], ["ann", "eve", "nobody"]]


async def test_a_read_that_hangs_does_not_hold_up_the_others() -> None:
    """Whoever comes after a while, and who waited until then, has a read of their own beside it; but no third one."""
    library = Library()
    gathering = Gathering(library.read, at_once=2)

    hangs = gathering.ask("ann")
    await turns()
    soon = gathering.ask("eve")
    await turns()
    reads_at_first = len(library.reads)
    await asyncio.sleep(2 * PATIENCE_S)
    later = gathering.ask("bob")
    await turns()
    await asyncio.sleep(2 * PATIENCE_S)
    waits = gathering.ask("kim")
    await turns()

    assert reads_at_first == 1
    assert library.reads == [["ann"], ["eve", "bob"]]
    library.open(1)
    assert [await soon, await later] == ["EVE", "BOB"]
    await turns()
    library.open(2)
    assert await waits == "KIM"
    assert not hangs.done()
    library.open(0)
    assert await hangs == "ANN"


async def test_a_crowd_is_read_in_shares() -> None:
    """No read is asked about more than so many."""
    library = Library()
    gathering = Gathering(library.read, at_once=1, of_at_most=2)

    asked = [gathering.ask(key) for key in "abcde"]
    for number in range(3):
        await turns()
        library.open(number)

    assert [await answer for answer in asked] == list("ABCDE")
    assert library.reads == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_failure_is_told_to_those_who_shared_it_and_to_nobody_else() -> None:
    """The next read is a new try."""
    library = Library()
    gathering = Gathering(library.read, at_once=1)

    asked = [gathering.ask("ann"), gathering.ask("bob")]
    await turns()
    later = gathering.ask("eve")
    library.doors[0].set_exception(OSError("away"))
    await turns()
    library.open(1)

    for answer in asked:
        with pytest.raises(OSError, match="away"):
            await answer
    assert await later == "EVE"


async def test_who_gives_up_takes_nothing_away_from_the_others() -> None:
    """Nor is anything read for those who left before it began."""
    library = Library()
    gathering = Gathering(library.read, at_once=1)

    first = [gathering.ask("ann"), gathering.ask("bob")]
    await turns()
    first[0].cancel()
    left, stays = gathering.ask("eve"), gathering.ask("kim")
    left.cancel()
    library.open(0)
    await turns()
    library.open(1)

    assert await first[1] == "BOB"
    assert await stays == "KIM"
    assert library.reads == [["ann", "bob"], ["kim"]]


async def test_who_asks_just_when_the_last_read_is_over_is_answered() -> None:
    """At any moment of the turns in which a reader comes to its end."""

    async def read(keys: Sequence[str]) -> Mapping[str, str]:
        await asyncio.sleep(0)
        return {key: key.upper() for key in keys}

    for wait in range(12):
        gathering = Gathering(read)
        first = gathering.ask("ann")
        await turns(wait)
        second = gathering.ask("bob")
        async with asyncio.timeout(30):
            assert [await first, await second] == ["ANN", "BOB"]


async def test_nobody_waits_for_a_read_that_was_called_off() -> None:
    """At the end of a process all tasks are cancelled; those who wait for one end with it."""
    library = Library()
    gathering = Gathering(library.read, at_once=1)
    asked = gathering.ask("ann")
    await turns()

    library.doors[0].cancel()
    await turns()

    assert asked.cancelled()


async def test_a_read_that_hangs_holds_up_one_question_only() -> None:
    """Also those who ask soon after another read, beside it, is over."""
    hangs = asyncio.Event()

    async def read(keys: Sequence[str]) -> Mapping[str, str]:
        if "ann" in keys:
            await hangs.wait()
        return {key: key.upper() for key in keys}

    gathering = Gathering(read)
    first = gathering.ask("ann")
    await asyncio.sleep(PATIENCE_S * 2)
    async with asyncio.timeout(30):
        others = [await gathering.ask(name) for name in ("bob", "eve", "kim")]
    hangs.set()

    assert [await first, *others] == ["ANN", "BOB", "EVE", "KIM"]
