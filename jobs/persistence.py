"""How a job goes on whatever happens: outages are waited out, and a bug is logged and tried again.

This is the boundary of the job's task. Decides how long to wait after a failure, and what the log says of it. Refuses to
know what the job does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from base.errors import Unavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retries:
    """Each waits twice as long as the one before, from the first bound to the last, less up to half at random."""

    first_s: float = 0.5
    last_s: float = 10.0

    def pause_s(self, failures: int, jitter: float) -> float:
        """How long to wait after this many failures in a row; `jitter` is from 0 to 1."""
        longest = min(self.last_s, self.first_s * 2.0 ** min(failures - 1, 20))
        # Jittered: several workers must not come back all at once.
        return longest * (1 - jitter / 2)


async def persist(
    job: str,
    work: Callable[[], Awaitable[float]],
    retries: Retries,
    jitter: Callable[[], float],
    failed: Callable[[Exception], Awaitable[None]] | None = None,
) -> NoReturn:
    """Works until cancelled; `work` answers after how many seconds there may be more to do.

    `failed` is told of each failure, after the log was, which names the `job`.
    """
    failures = 0
    this = asyncio.current_task()
    while True:
        try:
            pause_s = await work()
        except Exception as error:
            # Broad: one bug must not leave the job undone for ever.
            failures += 1
            pause_s = retries.pause_s(failures, jitter())
            if isinstance(error, Unavailable):
                log.warning(f"{job}.waits", error=str(error), failures=failures, retry_s=round(pause_s, 2))
            else:
                log.exception(f"{job}.failed", failures=failures, retry_s=round(pause_s, 2))
            if failed is not None:
                await failed(error)
        else:
            if failures:
                log.info(f"{job}.goes_on", failures=failures)
            failures = 0
        if this is not None and this.cancelling():
            # Swallowed on the way: before Python 3.12 `asyncio.wait_for` can do that, and the Redis client sends
            # with it. The task would go on for ever, and so would whoever waits for its end.
            raise asyncio.CancelledError
        await asyncio.sleep(pause_s)
