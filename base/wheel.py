"""A timer wheel: many coarse timers for the price of one. Hubs turn one for sessions, matchmakers one for tickets.

Decides which items are due. Pure: no clock, no loop; the caller turns it. An item may be due a slot late, never
early. Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987.
"""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class TimerWheel(Generic[Item]):
    """Items by the slot of their time; milliseconds."""

    __slots__ = ("_last", "_slot_ms", "_slots")

    def __init__(self, slot_ms: int, now_ms: int) -> None:
        self._slot_ms = slot_ms
        self._last = now_ms // slot_ms
        self._slots: dict[int, list[Item]] = {}

    def add(self, item: Item, at_ms: int) -> None:
        """Lets `item` fall due at `at_ms`, or at the next turn where that has passed."""
        slot = max(-(-at_ms // self._slot_ms), self._last + 1)
        self._slots.setdefault(slot, []).append(item)

    def turn(self, now_ms: int) -> list[Item]:
        """The items that fell due since the last turn, earlier slots first; they leave the wheel."""
        now = now_ms // self._slot_ms
        if now - self._last > len(self._slots):
            slots = sorted(slot for slot in self._slots if slot <= now)
        else:
            slots = [slot for slot in range(self._last + 1, now + 1) if slot in self._slots]
        self._last = max(self._last, now)
        return [item for slot in slots for item in self._slots.pop(slot)]
