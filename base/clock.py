"""Clocks: the kinds of time a server needs, as injected objects.

`wall_ms` is the machine's Unix time; `monotonic_ms` only ever measures waits on this machine. What is told to
clients and stored is the store's time, which `ServerClock` knows on every node alike.
"""

import time
from collections import deque
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


@dataclass(frozen=True, slots=True)
class _Sample:
    """One look at the store's clock: how far it is ahead of our monotonic clock, and how long the look took."""

    offset_ms: int
    round_trip_ms: int

    def agrees_with(self, other: "_Sample") -> bool:
        """Whether both can be true of one clock: each is exact to half its round trip, and to the millisecond."""
        tolerance = (self.round_trip_ms + other.round_trip_ms) / 2 + _DRIFT_MS
        return abs(self.offset_ms - other.offset_ms) <= tolerance


_DRIFT_MS = 10
_SAMPLES = 8


class ServerClock:
    """The store's time, told without asking it: our clock plus an offset that is measured again and again.

    Every node that measures against the same store tells the same time. Until the first measurement it tells the
    machine's wall time. It rests on the monotonic clock, so that somebody setting the wall clock moves nothing.
    """

    __slots__ = ("_clock", "_longest_round_trip_ms", "_offset_ms", "_samples", "monotonic_ms")

    def __init__(self, clock: Clock, *, longest_round_trip_ms: int = 250) -> None:
        self._clock = clock
        self.monotonic_ms = clock.monotonic_ms
        self._longest_round_trip_ms = longest_round_trip_ms
        self._offset_ms = clock.wall_ms() - clock.monotonic_ms()
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    def wall_ms(self) -> int:
        return self._clock.wall_ms()

    def now_ms(self) -> int:
        """Unix milliseconds on the store's clock."""
        return self._clock.monotonic_ms() + self._offset_ms

    @property
    def skew_ms(self) -> int:
        """How far the machine's wall clock is ahead of the store's."""
        return self._clock.wall_ms() - self.now_ms()

    @property
    def is_measured(self) -> bool:
        return bool(self._samples)

    def measured(self, store_ms: int, *, asked_at_ms: int, answered_at_ms: int) -> None:
        """Takes the store's answer to "what time is it", asked and answered at these moments of `monotonic_ms`.

        Of the last few answers the quickest counts. A slow one is ignored, unless it is all we have.
        """
        round_trip_ms = answered_at_ms - asked_at_ms
        if round_trip_ms > self._longest_round_trip_ms and self._samples:
            return
        sample = _Sample(store_ms - (asked_at_ms + answered_at_ms) // 2, round_trip_ms)
        if any(not sample.agrees_with(earlier) for earlier in self._samples):
            # The store's clock was set, or another machine took over as the store: what we knew is void.
            self._samples.clear()
        self._samples.append(sample)
        best = min(reversed(self._samples), key=lambda known: known.round_trip_ms)
        self._offset_ms = best.offset_ms
