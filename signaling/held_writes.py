"""What may wait a moment for company, so that a socket is written to once instead of twice.

A write costs the kernel more than a relay costs us. The `ok` to a relayed candidate is awaited by nobody, and to a client that
is connecting something else goes within milliseconds: the peer's candidates, or the next `ok`. TCP holds back its
acknowledgements for the same reason.

Decides how long. Whoever is held keeps its own bytes and their order; here it is only told when their time is up.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

TURN_S: Final = 0.005
TURNS: Final = 4
"""What is held waits this many turns at most: 20 ms. In many small steps, so that not everything is written at once."""


class Held(Protocol):
    """Whoever holds something back."""

    def release(self, ticket: int, /) -> None:
        """The time of what was held under this ticket is up; it may have gone before. Must not raise."""


class HeldWrites:
    """Whose time is up when. Runs a timer only while something is held."""

    __slots__ = ("_latest", "_ring", "_tickets", "_timer")

    def __init__(self) -> None:
        self._tickets = 0
        self._latest: list[tuple[Held, int]] = []
        self._ring: deque[list[tuple[Held, int]]] = deque([] for _ in range(TURNS - 1))
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, and no timer runs."""
        return self._timer is None

    def hold(self, held: Held) -> int:
        """Has `held` told in a moment; the ticket that it will be told."""
        self._tickets = ticket = self._tickets + 1
        self._latest.append((held, ticket))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_S, self._turn)
        return ticket

    def _turn(self) -> None:
        ring = self._ring
        due = ring.popleft()
        ring.append(self._latest)
        self._latest = []
        self._timer = asyncio.get_running_loop().call_later(TURN_S, self._turn) if any(ring) else None
        for held, ticket in due:
            held.release(ticket)
