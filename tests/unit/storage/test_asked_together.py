"""Rows that many ask for at the same moment are read by one statement, and nobody is answered by an older one."""

import asyncio
from collections.abc import Mapping

import pytest

from storage.postgres.together import AT_ONCE, Together


class Database:
    """Answers with the keys themselves; keeps each statement open until it is let go, where that is wanted."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.statements: list[list[int]] = []
        self.gate = asyncio.Event()
        self.failure: Exception | None = None
        if at_once:
            self.gate.set()

    async def ask(self, keys: list[int]) -> Mapping[int, str]:
        self.statements.append(keys)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return {key: str(key) for key in keys if key >= 0}


def together(database: Database, *, patience_s: float = 5.0) -> Together[int, str]:
    return Together(database.ask, patience_s=patience_s)


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_asked_in_one_turn_is_one_statement() -> None:
    """Each gets the answer to their own question; the same question is asked once."""
    database = Database()
    people = together(database)

    answers = await asyncio.gather(*(people.get(key) for key in (1, 2, 2, -3)))

    assert answers == ["1", "2", "2", None]
    assert database.statements == [[1, 2, -3]]


async def test_whoever_asks_later_is_not_answered_by_what_was_read_before() -> None:
    """A statement that is under way may have been answered already: a ban since then must be seen."""
    database = Database(at_once=False)
    people = together(database)

    first = asyncio.create_task(people.get(1))
    await _turns()
    second = asyncio.create_task(people.get(1))
    await _turns()

    assert database.statements == [[1], [1]]
    database.gate.set()
    assert [await first, await second] == ["1", "1"]


async def test_those_who_come_while_statements_are_under_way_share_the_next_one() -> None:
    """Under load statements grow instead of becoming more."""
    database = Database(at_once=False)
    people = together(database)
    asking = []
    for key in range(6):
        asking.append(asyncio.create_task(people.get(key)))
        await _turns()

    assert database.statements == [[0], [1]]
    database.gate.set()
    assert await asyncio.gather(*asking) == [str(key) for key in range(6)]
    assert database.statements == [[0], [1], [2, 3, 4, 5]]


async def test_a_crowd_is_asked_for_in_parts() -> None:
    """Reading the rows of one statement must not hold up the event loop."""
    database = Database()
    people = together(database)

    answers = await asyncio.gather(*(people.get(key) for key in range(3 * AT_ONCE)))

    assert answers == [str(key) for key in range(3 * AT_ONCE)]
    assert [len(keys) for keys in database.statements] == [AT_ONCE] * 3


async def test_a_failure_reaches_everybody_it_was_asked_for_and_nobody_else() -> None:
    """The next question is asked anew."""
    database = Database()
    database.failure = ConnectionError("away")
    people = together(database)

    answers = await asyncio.gather(*(people.get(key) for key in (1, 2)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    database.failure = None
    assert await people.get(1) == "1"


@pytest.mark.parametrize("begun", [False, True], ids=["before the statement", "during the statement"])
async def test_nobody_is_left_alone_when_the_one_who_asks_for_all_is_cancelled(*, begun: bool) -> None:
    """A session that ends takes its own question back, and not those of others."""
    database = Database(at_once=False)
    people = together(database)
    asks_for_all = asyncio.create_task(people.get(1))
    others = [asyncio.create_task(people.get(key)) for key in (1, 2)]
    await _turns(4 if begun else 1)

    asks_for_all.cancel()
    database.gate.set()

    assert await asyncio.gather(*others) == ["1", "2"]
    assert asks_for_all.cancelled()
    # Neither is its turn lost.
    assert await asyncio.gather(*(people.get(key) for key in range(4))) == ["0", "1", "2", "3"]


async def test_who_is_cancelled_while_another_asks_hurts_nobody() -> None:
    """The answer has one reader less."""
    database = Database(at_once=False)
    people = together(database)
    asking = [asyncio.create_task(people.get(key)) for key in (1, 2, 3)]
    await _turns()

    asking[1].cancel()
    database.gate.set()

    assert await asking[0] == "1"
    assert await asking[2] == "3"


async def test_the_wait_for_others_statements_is_bounded() -> None:
    """A database that does not answer keeps nobody waiting for ever, nor anybody from asking when it is back."""
    database = Database(at_once=False)
    people = together(database, patience_s=0.05)
    stuck = []
    for key in (1, 2):
        stuck.append(asyncio.create_task(people.get(key)))
        await _turns()

    with pytest.raises(TimeoutError):
        await people.get(3)

    database.gate.set()
    assert await asyncio.gather(*stuck) == ["1", "2"]
    assert await people.get(3) == "3"
