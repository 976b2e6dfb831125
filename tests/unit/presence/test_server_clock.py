"""The store's time as a node tells it."""

from hypothesis import given
from hypothesis import strategies as st

from base.clock import ManualClock, ServerClock

STORE_AHEAD = 5_000


def ask(server: ServerClock, clock: ManualClock, *, ahead_ms: int, round_trip_ms: int) -> None:
    """One measurement of a store whose clock is `ahead_ms` ahead of the machine's, answering half-way."""
    asked_at = clock.monotonic_ms()
    answer = clock.now_ms + round_trip_ms // 2 + ahead_ms
    clock.now_ms += round_trip_ms
    server.measured(answer, asked_at_ms=asked_at, answered_at_ms=clock.monotonic_ms())


def test_before_the_first_measurement_it_tells_the_machines_time() -> None:
    """A node needs the time before it has heard from the store."""
    clock = ManualClock()
    server = ServerClock(clock)
    clock.advance(1)

    assert server.now_ms() == clock.wall_ms()
    assert server.skew_ms == 0
    assert not server.is_measured


def test_a_measurement_sets_it_to_the_stores_time() -> None:
    """The answer is taken as given half-way through the round trip; the machine's own error is known."""
    clock = ManualClock()
    server = ServerClock(clock)
    ask(server, clock, ahead_ms=STORE_AHEAD, round_trip_ms=10)

    assert server.now_ms() == clock.wall_ms() + STORE_AHEAD
    assert server.skew_ms == -STORE_AHEAD
    assert server.is_measured


def test_setting_the_machines_clock_does_not_move_it() -> None:
    """Somebody corrects the wall clock by an hour: the store's time goes on as it was."""

    class SteppedClock(ManualClock):
        step_ms = 0

        def wall_ms(self) -> int:
            return self.now_ms + self.step_ms

    clock = SteppedClock()
    server = ServerClock(clock)
    ask(server, clock, ahead_ms=0, round_trip_ms=2)
    before = server.now_ms()
    clock.step_ms = 3_600_000

    assert server.now_ms() == before
    assert server.skew_ms == 3_600_000


def test_the_quickest_of_the_last_answers_counts() -> None:
    """A slow answer is less exact, so it does not replace a quick one that it does not contradict."""
    clock = ManualClock()
    server = ServerClock(clock)
    ask(server, clock, ahead_ms=100, round_trip_ms=2)
    ask(server, clock, ahead_ms=180, round_trip_ms=200)

    assert server.now_ms() == clock.wall_ms() + 100


def test_a_very_slow_answer_is_ignored_once_there_is_another() -> None:
    """A process that was stopped between question and answer learns nothing of the time."""
    clock = ManualClock()
    server = ServerClock(clock)
    ask(server, clock, ahead_ms=100, round_trip_ms=2)
    asked_at = clock.monotonic_ms()
    answer = clock.now_ms + 100
    clock.advance(10)
    server.measured(answer, asked_at_ms=asked_at, answered_at_ms=clock.monotonic_ms())

    assert server.now_ms() == clock.wall_ms() + 100


def test_a_very_slow_answer_is_better_than_none() -> None:
    """Far away from the store, its time is known roughly rather than not at all."""
    clock = ManualClock()
    server = ServerClock(clock)
    ask(server, clock, ahead_ms=STORE_AHEAD, round_trip_ms=800)

    assert server.now_ms() == clock.wall_ms() + STORE_AHEAD


def test_a_store_with_another_clock_takes_over_at_once() -> None:
    """After a failover to a machine with another clock, earlier answers count no more, however quick they were."""
    clock = ManualClock()
    server = ServerClock(clock)
    for _ in range(5):
        ask(server, clock, ahead_ms=0, round_trip_ms=1)
    ask(server, clock, ahead_ms=-400, round_trip_ms=20)

    assert server.now_ms() == clock.wall_ms() - 400


@given(
    st.lists(
        st.tuples(st.integers(0, 240), st.floats(0, 1)),
        min_size=1,
        max_size=30,
    ),
    st.integers(-10_000, 10_000),
)
def test_it_is_never_further_off_than_half_the_quickest_round_trip(
    answers: list[tuple[int, float]], ahead_ms: int
) -> None:
    """Wherever within the round trip the store answers, the error stays within what the method allows."""
    clock = ManualClock()
    server = ServerClock(clock)
    for round_trip_ms, share in answers:
        asked_at = clock.monotonic_ms()
        answer = clock.now_ms + round(round_trip_ms * share) + ahead_ms
        clock.now_ms += round_trip_ms
        server.measured(answer, asked_at_ms=asked_at, answered_at_ms=clock.monotonic_ms())

    quickest = min(round_trip_ms for round_trip_ms, _ in answers[-8:])
    assert abs(server.now_ms() - clock.wall_ms() - ahead_ms) <= quickest / 2 + 1
