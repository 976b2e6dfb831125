"""How old the data of a read replica can be, from the positions in the write-ahead log of both servers.

The primary is asked now and then how far it has written, the replica how far it has replayed. Whatever the primary had
written when it was last asked at a position that the replica has passed is there: so the age is at most the time since
then. It needs no clock but ours, no rights but those of any user, and cannot take a replica that is cut off for one
that has nothing to do. Times are milliseconds of a monotonic clock.
"""

from collections import deque
from typing import Final

_REMEMBERED: Final = 600


class ReplicaAge:
    """Counts; asks nobody."""

    __slots__ = ("_current_at", "_written")

    def __init__(self) -> None:
        self._written: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._current_at: int | None = None

    def primary_wrote(self, position: int, asked_at: int) -> None:
        """The primary was at this position when it was asked."""
        if self._written and position < self._written[-1][1]:
            # Another server is the primary now: what the old one wrote beyond this is nowhere.
            self._written.clear()
        self._written.append((asked_at, position))

    def replica_replayed(self, position: int) -> None:
        """The replica has everything up to this position."""
        while self._written and self._written[0][1] <= position:
            self._current_at = self._written.popleft()[0]

    def age_ms(self, now: int) -> int | None:
        """What the replica shows is at most so old; None while nobody knows."""
        return None if self._current_at is None else now - self._current_at
