"""How the recorder takes ended calls to history, whatever goes wrong on the way."""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from base.ids import CallId, ConnectionId
from jobs.metrics import RecorderMetrics
from jobs.persistence import Retries
from jobs.ports import Waiting
from jobs.recorder import Pace, Recorder
from signaling.call.record import Call
from signaling.call.states import State
from tests.contract.calls.call_records import ended, moved, new_id
from tests.unit.recorder.memory_stores import MemoryArchive, MemoryEndedCalls

PACE = Pace(batch=4, idle_s=0.001, retries=Retries(0.01, 0.04), set_aside_s=300)


class Office:
    """A recorder with both its stores."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ended = MemoryEndedCalls(self.clock.wall_ms)
        self.archive = MemoryArchive()
        self.registry = CollectorRegistry()
        self.recorder = self.another()

    def another(self) -> Recorder:
        metrics = RecorderMetrics(CollectorRegistry() if hasattr(self, "recorder") else self.registry)
        return Recorder(self.ended, self.archive, metrics, self.clock, lambda: 0.0, pace=PACE)

    def end(self, count: int = 1) -> list[Call]:
        calls = [ended(new_id(), new_id()) for _ in range(count)]
        for call in calls:
            self.clock.advance(0.001)
            self.ended.end(call)
        return calls

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"minuet_{name}", labels)

    async def run_until_recorded(self, count: int) -> float:
        """Runs the recorder's task; answers after how many seconds that many calls were in history."""
        began = time.monotonic()
        task = asyncio.create_task(self.recorder.run())
        try:
            async with asyncio.timeout(30):
                while len(self.archive.calls) < count or self.ended.since:
                    await asyncio.sleep(0.001)
            return time.monotonic() - began
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def office() -> Office:
    return Office()


async def test_ended_calls_come_off_the_list_once_they_are_in_history(office: Office) -> None:
    """The plain case."""
    calls = office.end(3)
    released = await office.recorder.record_waiting()

    assert released == 3
    assert list(office.archive.calls.values()) == calls
    assert office.ended.since == {}
    assert await office.recorder.record_waiting() == 0


async def test_many_calls_are_written_in_bounded_batches(office: Office) -> None:
    """One transaction must not grow with the length of an outage."""
    office.end(10)
    await office.recorder.record_waiting()

    assert [len(batch) for batch in office.archive.attempts] == [4, 4, 2]


async def test_nothing_comes_off_the_list_while_history_is_away(office: Office) -> None:
    """It is asked again later; the failure has a cause."""
    office.end(2)
    office.archive.failures = [Unavailable()]

    with pytest.raises(Unavailable):
        await office.recorder.record_waiting()
    assert len(office.ended.since) == 2
    assert office.figure("recorder_failures_total", cause="database") == 1
    assert await office.recorder.record_waiting() == 2


async def test_an_absent_list_is_counted_under_its_own_cause(office: Office) -> None:
    """Operators must see which of the two stores is away."""
    office.ended.away = True

    with pytest.raises(Unavailable):
        await office.recorder.record_waiting()
    assert office.figure("recorder_failures_total", cause="redis") == 1
    assert office.figure("recorder_failures_total", cause="database") == 0


async def test_a_write_whose_release_failed_is_repeated_and_changes_nothing(office: Office) -> None:
    """The list went away between the two steps: the call is in history once."""
    (call,) = office.end()

    def cut() -> None:
        office.ended.away = True

    office.archive.after_write = cut
    with pytest.raises(Unavailable):
        await office.recorder.record_waiting()
    office.ended.away = False
    office.archive.after_write = lambda: None
    await office.recorder.record_waiting()

    assert office.archive.attempts == [[call.call_id], [call.call_id]]
    assert office.figure("calls_recorded_total", result="new") == 1
    assert office.figure("calls_recorded_total", result="updated") == 0


async def test_a_call_that_changes_while_it_is_written_is_written_again(office: Office) -> None:
    """The later version reaches history, and only then the call leaves the list."""
    (call,) = office.end()
    changed = moved(call, State.ENDED)

    def change() -> None:
        office.ended.end(changed)
        office.archive.after_write = lambda: None

    office.archive.after_write = change
    first = await office.recorder.record_waiting()
    second = await office.recorder.record_waiting()

    assert (first, second) == (0, 1)
    assert office.archive.calls[call.call_id] == changed
    assert office.figure("calls_recorded_total", result="updated") == 1


async def test_one_refused_call_does_not_hold_up_the_others(office: Office) -> None:
    """It is found in few transactions, set aside, and stays on the list."""
    calls = office.end(4)
    office.archive.refused = {calls[2].call_id}
    released = await office.recorder.record_waiting()

    assert released == 3
    assert list(office.ended.since) == [calls[2].call_id]
    assert [len(batch) for batch in office.archive.attempts] == [4, 2, 2, 1, 1]
    assert office.figure("recorder_failures_total", cause="refused") == 1
    assert office.figure("recorder_set_aside") == 1


async def test_a_call_that_was_set_aside_is_tried_again_after_a_while(office: Office) -> None:
    """Not before: it would be refused again each quarter of a second. A migration may have made room meanwhile."""
    (call,) = office.end()
    office.archive.refused = {call.call_id}
    await office.recorder.record_waiting()
    office.archive.refused = set()
    office.clock.advance(299)
    early = await office.recorder.record_waiting()
    office.clock.advance(2)
    late = await office.recorder.record_waiting()

    assert (early, late) == (0, 1)
    assert len(office.archive.attempts) == 2
    assert office.figure("recorder_set_aside") == 0


async def test_a_restarted_recorder_tries_at_once_what_another_had_set_aside(office: Office) -> None:
    """A new release may know what the old one did not."""
    (call,) = office.end()
    office.ended.spoil(call.call_id)
    await office.recorder.record_waiting()
    office.ended.end(call)
    passed_over = await office.recorder.record_waiting()
    taken = await office.another().record_waiting()

    assert (passed_over, taken) == (0, 1)


async def test_an_unreadable_record_is_set_aside(office: Office) -> None:
    """It waits for a release that can read it; the others go on."""
    good, bad = office.end(2)
    office.ended.spoil(bad.call_id)
    await office.recorder.record_waiting()

    assert list(office.archive.calls) == [good.call_id]
    assert list(office.ended.since) == [bad.call_id]
    assert office.figure("recorder_failures_total", cause="unreadable") == 1


async def test_a_record_that_the_store_lost_is_forgotten_and_counted(office: Office) -> None:
    """There is nothing to write; somebody should look at why."""
    good, gone = office.end(2)
    office.ended.lose(gone.call_id)
    released = await office.recorder.record_waiting()

    assert released == 1
    assert list(office.archive.calls) == [good.call_id]
    assert office.ended.since == {}
    assert office.figure("recorder_failures_total", cause="lost") == 1


async def test_backlog_and_its_age_are_seen_while_history_is_away(office: Office) -> None:
    """That is what an alert looks at; both are gone when the backlog is."""
    office.end(2)
    office.clock.advance(90)
    office.end(3)
    office.archive.failures = [Unavailable()]
    with pytest.raises(Unavailable):
        await office.recorder.record_waiting()
    during = (office.figure("recorder_backlog"), round(office.figure("recorder_lag_seconds") or 0))
    await office.recorder.record_waiting()
    await office.recorder.record_waiting()

    assert during == (5, 90)
    assert (office.figure("recorder_backlog"), office.figure("recorder_lag_seconds")) == (0, 0)


async def test_two_recorders_at_once_write_each_call_once(office: Office) -> None:
    """Whatever the interleaving: both answer, history has each call in one version, the list is empty."""
    calls = office.end(30)
    other = office.another()
    await asyncio.gather(*(one.record_waiting() for one in (office.recorder, other) * 3))

    assert set(office.archive.calls) == {call.call_id for call in calls}
    assert office.ended.since == {}


async def test_the_task_takes_what_ends_while_it_runs(office: Office) -> None:
    """It looks again by itself, and stops when it is cancelled."""
    task = asyncio.create_task(office.recorder.run())
    await asyncio.sleep(0.01)
    office.end(9)
    async with asyncio.timeout(30):
        while office.ended.since:
            await asyncio.sleep(0.001)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(office.archive.calls) == 9


async def test_a_cancellation_that_a_store_swallowed_still_ends_the_task(office: Office) -> None:
    """As clients can before Python 3.12: the answer and the cancellation come in one turn of the event loop."""
    asked = asyncio.Event()

    class Swallowing(MemoryEndedCalls):
        async def waiting(self, *, passing_over: Collection[CallId]) -> Waiting:
            asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            return await super().waiting(passing_over=passing_over)

    office.ended = Swallowing(office.clock.wall_ms)
    task = asyncio.create_task(office.another().run())
    await asked.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=30)

    assert done == {task}
    assert task.cancelled()


async def test_the_task_waits_between_tries_and_goes_on_when_history_is_back(office: Office) -> None:
    """Five failures: 10, 20, 40, 40 and 40 ms. No busy loop during an outage."""
    office.end()
    office.archive.failures = [Unavailable() for _ in range(5)]
    took_s = await office.run_until_recorded(1)

    assert len(office.archive.attempts) == 6
    assert took_s > 0.149


async def test_a_bug_does_not_end_the_task(office: Office) -> None:
    """It is logged and counted, and what waits is tried again."""
    office.end()
    office.archive.failures = [RuntimeError("a bug")]
    await office.run_until_recorded(1)

    assert office.figure("recorder_failures_total", cause="internal") == 1
    assert len(office.archive.calls) == 1


async def test_a_call_that_never_comes_off_the_list_is_not_tried_without_pause(office: Office) -> None:
    """A list that keeps changing must not turn the recorder into a busy loop."""
    (call,) = office.end()
    office.archive.after_write = lambda: office.ended.end(call)
    task = asyncio.create_task(office.recorder.run())
    await asyncio.sleep(0.05)
    task.cancel()

    assert 2 <= len(office.archive.attempts) <= 60


class Known:
    """Whose two keep apart, and of which connections the two were told."""

    def __init__(self, *apart: CallId) -> None:
        self.kept_apart = set(apart)
        self.told: list[tuple[ConnectionId, ...]] = []
        self.away = False

    async def apart(self, calls: Sequence[Call]) -> set[CallId]:
        if self.away:
            raise Unavailable
        return {call.call_id for call in calls} & self.kept_apart

    async def tell(self, connection_ids: Sequence[ConnectionId]) -> None:
        self.told.append(tuple(connection_ids))


def with_connections(office: Office, known: Known) -> Recorder:
    metrics = RecorderMetrics(CollectorRegistry())
    return Recorder(
        office.ended, office.archive, metrics, office.clock, lambda: 0.0, connections=known, pace=PACE
    )


async def test_connections_are_told_once_they_are_written(office: Office) -> None:
    """Not those of two whom a block keeps apart, which the archive was told before it wrote."""
    first, second = office.end(2)
    office.archive.news = (ConnectionId("c"),)
    known = Known(first.call_id)
    await with_connections(office, known).record_waiting()

    assert office.archive.apart == [{first.call_id}]
    assert known.told == [(ConnectionId("c"),)]
    assert second.call_id in office.archive.calls


async def test_nothing_is_written_while_nobody_knows_of_blocks(office: Office) -> None:
    """A connection beside a block would be told before anybody could end it."""
    office.end(2)
    known = Known()
    known.away = True

    with pytest.raises(Unavailable):
        await with_connections(office, known).record_waiting()
    assert office.archive.calls == {}
    assert known.told == []
