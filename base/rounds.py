"""Work that is done in rounds for as long as a process lives: one that fails is logged, and the next comes all the same.

This is the boundary of a task: it catches broadly, so that one bug does not end the task, and with it the group that
serves everything else. Decides what is said of a failure. Refuses to know what is done, and how long to wait after it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NoReturn

import structlog

from base.errors import Unavailable

logger = structlog.get_logger(__name__)


async def attempt(work: Callable[[], Awaitable[object]], failed: str, **about: object) -> bool:
    """Does one round; whether it was done.

    What the log says of one that was not: `failed`, and what it was `about`. A debug line where something the server
    depends on is away, which is told elsewhere; else an error with its traceback.
    """
    try:
        await work()
    except Unavailable as error:
        logger.debug(failed, error=str(error), **about)
    except Exception:
        # Broad: whatever is wrong with this round must not keep the next one from being done.
        logger.exception(failed, **about)
    else:
        return True
    return False


async def insist(
    work: Callable[[], Awaitable[object]], failed: str, pauses_s: Sequence[float], **about: object
) -> None:
    """Rounds until one is done; the last pause is that before all further tries."""
    for number in count():
        if await attempt(work, failed, **about):
            return
        await asyncio.sleep(pauses_s[min(number, len(pauses_s) - 1)])


async def keep_on(every_s: float, work: Callable[[], Awaitable[object]], failed: str) -> NoReturn:
    """A round after each pause, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        await attempt(work, failed)
