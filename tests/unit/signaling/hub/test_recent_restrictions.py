"""How long a process remembers what it took away, and what it does with it after a loss."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from base.clock import ManualClock
from base.errors import Unavailable
from signaling.recent_restrictions import MOST, REMEMBERED_MS, RecentRestrictions


class Store:
    """Notes which calls are held against it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away: set[str] = set()
        self.unreadable: set[str] = set()

    async def verify(self, call: Any) -> None:
        self.asked.append(call.id)
        if call.id in self.away:
            raise Unavailable
        if call.id in self.unreadable:
            raise ValueError("a record of a newer release")


def call(name: str) -> Any:
    return SimpleNamespace(id=name)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recent(store: Store, clock: ManualClock) -> RecentRestrictions:
    return RecentRestrictions(store.verify, clock.monotonic_ms)


async def test_only_what_is_recent_is_said_again(
    recent: RecentRestrictions, store: Store, clock: ManualClock
) -> None:
    """Whatever is older has reached a replica, or both nodes, long ago; again restricted is recent again."""
    recent.note(call("old"))
    recent.note(call("again"))
    clock.advance(REMEMBERED_MS / 1000 - 1)
    recent.note(call("again"))
    clock.advance(2)
    recent.note(call("new"))
    await recent.say_again()

    assert store.asked == ["again", "new"]


async def test_all_are_tried_though_one_part_of_the_store_is_away(
    recent: RecentRestrictions, store: Store
) -> None:
    """And the caller hears of it, to try again."""
    store.away = {"one"}
    for name in ("one", "two"):
        recent.note(call(name))

    with pytest.raises(Unavailable):
        await recent.say_again()
    assert store.asked == ["one", "two"]


async def test_what_is_remembered_is_bounded(recent: RecentRestrictions) -> None:
    """The oldest go first."""
    for number in range(MOST + 5):
        recent.note(call(str(number)))

    assert len(recent) == MOST


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_said(
    recent: RecentRestrictions, store: Store
) -> None:
    """Nor is it tried again and again: it will not get better."""
    store.unreadable = {"one"}
    for name in ("one", "two"):
        recent.note(call(name))
    await recent.say_again()

    assert store.asked == ["one", "two"]


async def test_one_that_takes_long_keeps_no_other_waiting(clock: ManualClock) -> None:
    """Nothing is granted until all are said again, and there may be thousands."""
    answers = asyncio.Event()

    async def verify(call: Any) -> None:
        if call.id == "last":
            answers.set()
        await answers.wait()

    recent = RecentRestrictions(verify, clock.monotonic_ms)
    recent.note(call("first"))
    recent.note(call("last"))
    async with asyncio.timeout(30):
        await recent.say_again()

    assert answers.is_set()
