"""Whether the other end is still there: pings after silence, death after unanswered pings.

Pure; the hub asks at the times that `next_at` names.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Beat:
    """Silence until a ping is due, and how long its answer may take; milliseconds."""

    silence_ms: int
    answer_ms: int


IDLE_BEAT = Beat(20_000, 8_000)
CALL_BEAT = Beat(5_000, 4_000)


class Pulse(Enum):
    """What the hub has to do now."""

    FINE = "fine"
    PING = "ping"
    DEAD = "dead"


class Heartbeat:
    """The pulse of one connection; any traffic counts as a sign of life."""

    __slots__ = ("_beat", "_heard_at", "_pinged_at")

    def __init__(self, beat: Beat, now_ms: int, *, head_start_ms: int = 0) -> None:
        self._beat = beat
        # A random head start spreads the pings of clients that connected together.
        self._heard_at = now_ms - head_start_ms
        self._pinged_at: int | None = None

    def heard(self, now_ms: int) -> None:
        self._heard_at = now_ms
        self._pinged_at = None

    def pace(self, beat: Beat) -> None:
        self._beat = beat

    @property
    def next_at(self) -> int:
        """When to ask again."""
        if self._pinged_at is not None:
            return self._pinged_at + self._beat.answer_ms
        return self._heard_at + self._beat.silence_ms

    def check(self, now_ms: int) -> Pulse:
        if now_ms < self.next_at:
            return Pulse.FINE
        if self._pinged_at is not None:
            return Pulse.DEAD
        self._pinged_at = now_ms
        return Pulse.PING
