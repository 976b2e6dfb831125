"""Clocks: the two kinds of time a server needs, as injected objects.

`wall_ms` is Unix time, told to clients and stored; `monotonic_ms` only ever measures waits on this machine.
"""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where the shells get the time that they hand to the pure cores."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary moment; never goes backwards."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to; for tests and simulations."""

    now_ms: int = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> int:
        self.now_ms += round(seconds * 1000)
        return self.now_ms
