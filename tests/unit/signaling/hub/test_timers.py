"""The wheel, the deadlines of calls and the limits of addresses: nothing early, nothing lost, nothing unbounded."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from base.clock import ManualClock, ServerClock, SystemClock
from base.ids import CallId
from base.wheel import TimerWheel
from signaling.admission import AddressLimit
from signaling.deadlines import Deadlines
from signaling.session.limits import Rate


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 400)), max_size=60))
def test_every_item_falls_due_once_never_early_and_at_most_a_slot_late(steps: list[tuple[int, int]]) -> None:
    """However items are added and however irregularly the wheel is turned."""
    wheel: TimerWheel[int] = TimerWheel(250, 0)
    now_ms, due_at = 0, {}
    for item, (delay_ms, gap_ms) in enumerate(steps):
        due_at[item] = now_ms + delay_ms
        wheel.add(item, due_at[item])
        now_ms += gap_ms
        for fallen in wheel.turn(now_ms):
            assert due_at.pop(fallen) <= now_ms
        assert all(at > now_ms - 500 for at in due_at.values())

    fallen = wheel.turn(now_ms + 10_000)
    assert sorted(fallen) == sorted(due_at)
    assert wheel.turn(now_ms + 20_000) == []


async def test_deadlines_fire_each_call_at_its_latest_schedule() -> None:
    """A call that was scheduled anew fires once, at the new time; one that was cancelled never."""
    clock = ServerClock(SystemClock())
    fired: list[str] = []
    deadlines = Deadlines(clock, fired.append)
    now_ms = clock.now_ms()

    deadlines.schedule(CallId("moved"), now_ms + 10)
    deadlines.schedule(CallId("cancelled"), now_ms + 20)
    deadlines.schedule(CallId("second"), now_ms + 40)
    deadlines.schedule(CallId("moved"), now_ms + 60)
    deadlines.schedule(CallId("cancelled"), None)
    async with asyncio.timeout(30):
        while len(fired) < 2:
            await asyncio.sleep(0.005)

    assert fired == ["second", "moved"]
    assert clock.now_ms() >= now_ms + 60
    assert len(deadlines) == 0
    deadlines.close()


async def test_a_deadline_that_the_clocks_jump_has_passed_fires_within_a_second() -> None:
    """Another machine took over as the store, and its clock is ahead by five seconds."""
    clock = ServerClock(SystemClock())
    fired: list[str] = []
    deadlines = Deadlines(clock, fired.append)

    deadlines.schedule(CallId("call"), clock.now_ms() + 6_000)
    await asyncio.sleep(0.05)
    asked_at = clock.monotonic_ms()
    clock.measured(clock.now_ms() + 6_500, asked_at_ms=asked_at, answered_at_ms=asked_at)
    async with asyncio.timeout(5):
        while not fired:
            await asyncio.sleep(0.01)

    assert fired == ["call"]
    deadlines.close()


async def test_deadlines_do_not_grow_with_every_new_schedule() -> None:
    """Entries of past schedules are thrown away before they pile up."""
    deadlines = Deadlines(ServerClock(SystemClock()), lambda _call: None)

    for number in range(10_000):
        deadlines.schedule(CallId("one"), 10_000_000_000_000 + number)

    assert len(deadlines._heap) < 200
    deadlines.close()


def test_an_address_has_its_own_bucket() -> None:
    """Bursts pass, then the rate; others are not touched."""
    clock = ManualClock()
    limit = AddressLimit(Rate(per_s=10, burst=20), clock.monotonic_ms)

    admitted = [limit.admit("192.0.2.1") for _ in range(21)]

    assert admitted[:20] == [None] * 20
    assert admitted[20] == 0.1
    assert limit.admit("192.0.2.2") is None
    clock.advance(0.1)
    assert limit.admit("192.0.2.1") is None


def test_addresses_are_forgotten_oldest_first() -> None:
    """A scan from a million addresses costs the memory of a bounded number."""
    limit = AddressLimit(Rate(10, 20), ManualClock().monotonic_ms, max_addresses=100)

    for number in range(1_000):
        limit.admit(f"192.0.2.{number}")

    assert len(limit._buckets) == 100
