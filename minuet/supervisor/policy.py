"""What becomes of a worker that died, and who minds its door meanwhile.

Decides when a worker is started again, when the whole gives up, and which of the others accepts the connections of one
that is away. Refuses to know processes and sockets. Times are milliseconds of a monotonic clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PAUSES_MS: Final = (0, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
"""Before the first start after a death, the second in a row, and so on; the last one from then on."""

SETTLED_MS: Final = 10_000
"""Whoever served this long did not die of its start."""

GIVE_UP_AFTER: Final = 7
"""So many deaths in a row, of a worker when no other serves, and nothing will help but a person."""

BAD_SETUP: Final = 2
"""The exit status of a process that an operator has to help: settings, schema, a port that is taken."""

GAVE_UP: Final = 3
"""The exit status of a supervisor whose workers died again and again."""


SILENT_AFTER_MS: Final = 3_000
"""Who has not answered for so long cannot be relied on to open the door."""

HOPELESS_AFTER_MS: Final = 60_000
"""Who has not answered for so long is killed: a loop that hangs does not end by itself."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """The worker is started anew after a pause."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing is gained by another try: end, with this exit status."""

    why: str
    status: int


class Deaths:
    """How often the worker of one slot died in a row."""

    __slots__ = ("_in_a_row",)

    def __init__(self) -> None:
        self._in_a_row = 0

    @property
    def in_a_row(self) -> int:
        return self._in_a_row

    def settled(self) -> None:
        """A start that was asked for went well: what was before counts no more."""
        self._in_a_row = 0

    def died(self, *, served_ms: int | None, status: int, others_serve: bool) -> StartAgain | GiveUp:
        """What to do about a death; `served_ms` is for how long it served, None where it never came to that.

        As long as others serve the tries go on: what keeps this one from starting may pass, and they are no better
        off when the whole ends.
        """
        if served_ms is not None and served_ms >= SETTLED_MS:
            self._in_a_row = 0
        self._in_a_row += 1
        if not others_serve:
            if status == BAD_SETUP and served_ms is None:
                return GiveUp("it cannot start as it is set up", BAD_SETUP)
            if self._in_a_row >= GIVE_UP_AFTER:
                return GiveUp(f"it died {self._in_a_row} times in a row", GAVE_UP)
        return StartAgain(PAUSES_MS[min(self._in_a_row, len(PAUSES_MS)) - 1])


class Silence:
    """For how long a worker that is asked again and again has not answered."""

    __slots__ = ("_asked_at", "_heard_at")

    def __init__(self, now_ms: int) -> None:
        self._heard_at = self._asked_at = now_ms

    def asked(self, now_ms: int, *, answered: bool) -> None:
        """It was asked at this moment, and answered or not."""
        if now_ms - self._asked_at > SILENT_AFTER_MS:
            # Nobody asked for a while, since whoever asks stood still: that is not this one's silence.
            self._heard_at = now_ms
        self._asked_at = now_ms
        if answered:
            self._heard_at = now_ms

    @property
    def lasts_ms(self) -> int:
        return self._asked_at - self._heard_at

    @property
    def is_long(self) -> bool:
        """Whether others have to mind its door."""
        return self.lasts_ms >= SILENT_AFTER_MS

    @property
    def is_hopeless(self) -> bool:
        return self.lasts_ms >= HOPELESS_AFTER_MS


def door_minders(
    orphaned: Sequence[int], serving: Sequence[int], before: Mapping[int, int]
) -> dict[int, int]:
    """Which serving process accepts at each orphaned door: whoever does already, else whoever minds fewest."""
    minders = {door: before[door] for door in orphaned if before.get(door) in serving}
    for door in orphaned:
        if door not in minders and serving:
            minded = list(minders.values())
            minders[door] = min(serving, key=minded.count)
    return minders
