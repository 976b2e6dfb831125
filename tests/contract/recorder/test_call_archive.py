"""What the recorder may rely on about any archive: one suite for PostgreSQL and for the fake of the unit tests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from jobs.ports import CallArchive, Recorded, Refused
from signaling.call.record import Call
from signaling.call.states import State
from storage.postgres.calls import PostgresCallArchive
from tests.contract.calls.call_records import ended, moved, new_id
from tests.contract.recorder.archive_rows import add_pair
from tests.unit.recorder.memory_stores import MemoryArchive


@dataclass
class Parts:
    """An archive, and calls that it takes and does not take."""

    archive: CallArchive
    add_people: Callable[[], Awaitable[tuple[str, str]]]
    refused: Call

    async def calls(self, count: int) -> list[Call]:
        return [ended(*await self.add_people()) for _ in range(count)]


async def nobody() -> tuple[str, str]:
    return new_id(), new_id()


@pytest.fixture(params=["postgres", "memory"])
def parts(request: pytest.FixtureRequest) -> Parts:
    refused = ended(new_id(), new_id())
    if request.param == "memory":
        memory = MemoryArchive()
        memory.refused = {refused.call_id}
        return Parts(memory, nobody, refused)
    database = request.getfixturevalue("database")
    archive = PostgresCallArchive(request.getfixturevalue("pool"))
    return Parts(archive, lambda: add_pair(database), refused)


async def test_new_calls_are_told_from_known_ones(parts: Parts) -> None:
    """The answer counts what was written, not what was sent."""
    calls = await parts.calls(3)
    outcomes = [await parts.archive.record(batch) for batch in (calls[:2], calls, calls)]

    assert outcomes == [Recorded(2, 0), Recorded(1, 0), Recorded(0, 0)]


async def test_only_a_later_version_is_an_update(parts: Parts) -> None:
    """An earlier one that comes late changes nothing."""
    (first,) = await parts.calls(1)
    second = moved(first, State.ENDED)
    outcomes = [await parts.archive.record([call]) for call in (first, second, first)]

    assert outcomes == [Recorded(1, 0), Recorded(0, 1), Recorded(0, 0)]


async def test_one_call_that_cannot_be_kept_keeps_its_whole_batch_out(parts: Parts) -> None:
    """All or nothing: the recorder takes the batch apart itself."""
    calls = await parts.calls(3)

    with pytest.raises(Refused):
        await parts.archive.record([*calls, parts.refused])
    assert await parts.archive.record(calls) == Recorded(3, 0)


async def test_a_call_that_has_not_ended_is_refused(parts: Parts) -> None:
    """History is of ended calls only."""
    (call,) = await parts.calls(1)

    with pytest.raises(Refused):
        await parts.archive.record([moved(call, State.LIVE, ended_at=None)])
