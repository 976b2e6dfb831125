"""Work that is done in rounds: what the log says of one that fails, and that the next one comes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from base.errors import Unavailable
from base.rounds import attempt, insist, keep_on


def failing_with(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "level"), [(Unavailable("Redis"), "debug"), (ValueError("a bug"), "error")]
)
async def test_a_round_that_fails_is_said_to_have_failed(error: Exception, level: str) -> None:
    """An outage is told elsewhere; a bug has its traceback here, and what it was about."""
    with capture_logs() as lines:
        was_done = await attempt(failing_with(error), "places could not be kept", user="she")

    assert was_done is False
    assert [(line["event"], line["log_level"], line["user"]) for line in lines] == [
        ("places could not be kept", level, "she")
    ]
    assert [bool(line.get("exc_info")) for line in lines] == [level == "error"]


async def test_a_round_that_is_done_says_nothing() -> None:
    """Most are."""
    done = []

    async def work() -> None:
        done.append("once")

    with capture_logs() as lines:
        was_done = await attempt(work, "could not be done")

    assert was_done is True
    assert (done, lines) == (["once"], [])


async def test_whoever_cancels_a_round_is_obeyed() -> None:
    """The end of the process is no failure of the round."""
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await attempt(failing_with(asyncio.CancelledError()), "could not be done")

    assert lines == []


async def test_whoever_insists_is_done_after_the_first_round_that_is() -> None:
    """Whatever was wrong before; the log says each time what it was about."""
    outcomes: list[Exception | None] = [Unavailable("Redis"), ValueError("a bug"), Unavailable("Redis"), None]

    async def work() -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    with capture_logs() as lines:
        await asyncio.wait_for(insist(work, "not put back yet", (0.0, 0.001), node="one"), 10)

    assert outcomes == []
    assert [(line["event"], line["node"]) for line in lines] == [("not put back yet", "one")] * 3


async def test_the_round_after_one_that_failed_is_done() -> None:
    """Whatever was wrong with the first two."""
    outcomes: list[Exception | None] = [ValueError("a bug"), Unavailable("Redis"), None]
    third = asyncio.Event()

    async def work() -> None:
        outcome = outcomes.pop(0) if outcomes else None
        if outcome is not None:
            raise outcome
        third.set()

    keeping_on = asyncio.create_task(keep_on(0.001, work, "could not be done"))
    await asyncio.wait_for(third.wait(), 10)
    goes_on = not keeping_on.done()
    keeping_on.cancel()
    await asyncio.wait([keeping_on])

    assert goes_on
    assert keeping_on.cancelled()
