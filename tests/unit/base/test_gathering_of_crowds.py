"""How a crowd is read: once for each key, and not for longer than anybody means to wait."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from base.errors import Unavailable
from base.gathering import Gathering


class Slow:
    """Takes its time for each read."""

    def __init__(self, read_s: float = 0.0) -> None:
        self._read_s = read_s
        self.reads: list[Sequence[str]] = []

    async def read(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.reads.append(keys)
        await asyncio.sleep(self._read_s)
        return {key: key.upper() for key in keys}


async def test_however_many_ask_the_same_one_read_answers_all() -> None:
    """A read of so many keys at most is not one of so many who ask."""
    slow = Slow()
    gathering = Gathering(slow.read, of_at_most=2)
    answers = await asyncio.gather(*(gathering.ask(key) for key in ["ann"] * 1_000 + ["bob"] * 1_000))

    assert slow.reads == [["ann", "bob"]]
    assert answers == ["ANN"] * 1_000 + ["BOB"] * 1_000


async def test_whoever_has_waited_for_too_long_is_told_so() -> None:
    """With the end of a read that took so long, and not one share after the other; the first are answered."""
    slow = Slow(read_s=1.2)
    gathering = Gathering(slow.read, of_at_most=2, within_s=1.0)
    asked = [gathering.ask(f"user {number}") for number in range(100)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert answers[:2] == ["USER 0", "USER 1"]
    assert all(isinstance(answer, Unavailable) for answer in answers[2:])
    assert len(slow.reads) == 1


async def test_who_asks_after_that_is_answered() -> None:
    """What was given up is nobody else's."""
    slow = Slow(read_s=1.2)
    gathering = Gathering(slow.read, of_at_most=1, within_s=1.0)
    first, given_up = gathering.ask("ann"), gathering.ask("bob")
    with pytest.raises(Unavailable):
        await given_up

    assert [await first, await gathering.ask("bob")] == ["ANN", "BOB"]
