"""Continuity: whether the store still has all that it was told, and what follows where it has not.

Decides from what each part of the store says of itself that something was lost (it was emptied, it came back from a file,
or a replica took over that may have been behind), and for how long nothing may be granted while everybody puts back what
they know. Refuses to know what that is. A takeover that lost nothing looks just the same, so all of it must be harmless.

Times are milliseconds of the machine's monotonic clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass

RESTORING_MS = 2_000
"""Every node notices a loss within one renewal of its lease, and then has as long again to put back what it knows."""

LONGEST_MS = 20_000
"""A node that cannot put everything back by then serves on: the checks of its tickets and calls repair the rest."""

_STILL_AT_IT_MS = 100


@dataclass(frozen=True, slots=True)
class Mark:
    """What one part of the store says of itself: on one server there is one part, on a cluster one for each primary."""

    part: str
    epoch: str
    """A random word that stands among the data: gone, or another, where the data is."""
    history: str
    """The server's name for the history of its data: another after each restart and each takeover by a replica."""
    restoring_ms: int = 0
    """For so long everybody is asked to hold back, by a node that noticed a loss: for those that started after it.

    Also where a node finds nothing there, not even an epoch, though others are at work: they have yet to notice."""


class Continuity:
    """What one process knows of the store's past, and whether it is putting things back right now."""

    __slots__ = ("_began_at", "_is_putting_back", "_known", "_until")

    def __init__(self) -> None:
        self._known: dict[str, Mark] = {}
        self._began_at = 0
        self._until = 0
        self._is_putting_back = False

    def heard(self, marks: Iterable[Mark], now: int) -> bool:
        """Takes note of what parts say now; whether one of them lost something, so that a restoration begins.

        Parts that could not be asked are left out: what is known of them stays. A part that was never heard of before
        has nothing to be compared with, except that it may ask to hold back.
        """
        marks = tuple(marks)
        lost = self.differs(marks)
        asked_ms = max((mark.restoring_ms for mark in marks if mark.part not in self._known), default=0)
        self._known.update((mark.part, mark) for mark in marks)
        if lost:
            self._began_at, self._until = now, now + RESTORING_MS
            self._is_putting_back = True
        elif asked_ms:
            self._until = max(self._until, now + min(asked_ms, RESTORING_MS))
        return lost

    def differs(self, marks: Iterable[Mark]) -> bool:
        """Whether `heard` would find a loss in what parts say now."""
        known = ((self._known.get(mark.part), mark) for mark in marks)
        return any(
            before is not None and (before.epoch, before.history) != (mark.epoch, mark.history)
            for before, mark in known
        )

    def put_back(self) -> None:
        """All that this process knows stands in the store again."""
        self._is_putting_back = False

    def restoring_ms(self, now: int) -> int:
        """For how much longer nothing may be granted, as far as one can say; 0 when it may."""
        if self._is_putting_back and now - self._began_at < LONGEST_MS:
            return max(self._until - now, _STILL_AT_IT_MS)
        return max(0, self._until - now)
