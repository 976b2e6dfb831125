"""For how long somebody waits for a node that is away. Pure: the time is an argument, in seconds of any clock.

Patience is had once in an outage, from its beginning, and not by each command anew: what comes while it lasts must not
pile up.
"""

from typing import Final

from storage.redis.slots import Address

FORGOTTEN_AFTER_S: Final = 5.0
"""Without anybody having met it: then it is over, or another has begun."""


class Outages:
    """Which nodes were found away, and since when. A node of None is one that nobody knows."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._known: dict[Address | None, tuple[float, float]] = {}

    def met(self, node: Address | None, now: float) -> float:
        """Notes that a node did not serve. Returns when to stop waiting for it."""
        since, last = self._known.get(node, (now, now))
        if now - last > FORGOTTEN_AFTER_S:
            since = now
        self._known[node] = (since, now)
        return since + self._patience_s

    def over(self, node: Address | None) -> None:
        """Notes that it served."""
        if self._known:
            self._known.pop(node, None)

    def is_away(self, node: Address, now: float) -> bool:
        """Whether it was found away a moment ago."""
        return node in self._known and now - self._known[node][1] <= FORGOTTEN_AFTER_S
