"""How a job goes on after failures: how long it waits, and who is told."""

import asyncio

from structlog.testing import capture_logs

from base.errors import Unavailable
from jobs.persistence import Retries, persist


async def test_a_job_waits_out_an_outage_and_a_bug_and_says_when_it_goes_on() -> None:
    """The log names the job and counts; whoever wants to know of failures is told of each."""
    outcomes: list[Exception] = [Unavailable("Redis"), ValueError("a bug")]
    told: list[Exception] = []
    went_on = asyncio.Event()

    async def work() -> float:
        if outcomes:
            raise outcomes.pop(0)
        went_on.set()
        return 60.0

    async def failed(error: Exception) -> None:
        told.append(error)

    with capture_logs() as lines:
        job = asyncio.create_task(persist("sums", work, Retries(0.001, 0.002), lambda: 0.0, failed))
        await asyncio.wait_for(went_on.wait(), 10)
        await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait([job])

    assert [type(error) for error in told] == [Unavailable, ValueError]
    assert [(line["event"], line["log_level"], line["failures"]) for line in lines] == [
        ("sums.waits", "warning", 1),
        ("sums.failed", "error", 2),
        ("sums.goes_on", "info", 2),
    ]
    assert job.cancelled()


def test_retries_wait_twice_as_long_each_time_up_to_a_bound() -> None:
    """At one end of the jitter; at the other end half of that."""
    retries = Retries(first_s=0.5, last_s=10)
    failures = [1, 2, 3, 4, 5, 6, 1_000_000]

    assert [retries.pause_s(n, 0.0) for n in failures] == [0.5, 1, 2, 4, 8, 10, 10]
    assert [retries.pause_s(n, 1.0) for n in failures] == [0.25, 0.5, 1, 2, 4, 5, 5]
