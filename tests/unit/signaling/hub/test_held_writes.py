"""What waits for company: for how long, and that nothing is told twice or too early."""

import asyncio

from signaling.held_writes import TURN_S, TURNS, HeldWrites
from tests.fixtures.waiting import until


class Holder:
    """Notes which of its tickets were called up, and when."""

    def __init__(self) -> None:
        self.released: list[int] = []
        self.at: list[float] = []

    def release(self, ticket: int) -> None:
        self.released.append(ticket)
        self.at.append(asyncio.get_running_loop().time())


async def test_each_ticket_is_called_up_once_and_in_order() -> None:
    """Also of one who holds something again before the first time is up."""
    writes, one, other = HeldWrites(), Holder(), Holder()

    first, second = writes.hold(one), writes.hold(other)
    await asyncio.sleep(TURN_S * 1.5)
    third = writes.hold(one)
    await until(lambda: one.released == [first, third])

    assert other.released == [second]
    assert one.at[0] <= one.at[1]


async def test_nothing_is_called_up_before_its_time() -> None:
    """A turn may be nearly over when something is held: so one turn less than all of them, at least."""
    writes, holder = HeldWrites(), Holder()
    began = asyncio.get_running_loop().time()

    writes.hold(holder)
    await until(lambda: holder.at != [])

    assert holder.at[0] - began >= TURN_S * (TURNS - 1) * 0.9


async def test_no_timer_runs_while_nothing_is_held() -> None:
    """An idle node wakes up for nothing; the next that is held is called up all the same."""
    writes, holder = HeldWrites(), Holder()

    writes.hold(holder)
    await until(lambda: writes.is_idle)
    writes.hold(holder)
    assert not writes.is_idle
    await until(lambda: writes.is_idle)

    assert len(holder.released) == 2
