"""The index of waiting tickets: finds mutually compatible partners, longest-waiting first.

`Index` is what pairing needs; `ScanIndex` answers it by looking at the tickets of the wanted sides one by one, in
order of seniority. Refuses to know the time: tiers are told, by `add` and `widen`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Protocol

from base.ids import TicketId
from base.policy import Gender
from matchmaker.scoring import Relaxation, compatible
from matchmaker.ticket import Ticket


@dataclass(slots=True)
class Entry:
    """A waiting ticket and the tier up to which its wishes are relaxed."""

    ticket: Ticket
    tier: int


class Index(Protocol):
    """Waiting tickets of one pool."""

    def add(self, ticket: Ticket, tier: int) -> None:
        """Lets a ticket be found; its id must not be there yet."""
        ...

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        """Relaxes a waiting ticket's wishes in place; it keeps its seniority."""
        ...

    def remove(self, ticket_id: TicketId) -> Ticket | None:
        """Takes a ticket out; `None` if it is not there."""
        ...

    def get(self, ticket_id: TicketId) -> Entry | None: ...

    def candidates(self, ticket: Ticket, tier: int, limit: int) -> list[Ticket]:
        """The first `limit` tickets that are compatible with `ticket` at `tier`, longest-waiting first.

        `ticket` itself need not be in the index and is never among them.
        """
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Entry]: ...


class ScanIndex:
    """An index without an index: correct at any size, quick for some thousands of waiting tickets."""

    __slots__ = ("_by_side", "_entries", "_tiers")

    def __init__(self, tiers: tuple[Relaxation, ...]) -> None:
        self._tiers = tiers
        self._entries: dict[TicketId, Entry] = {}
        self._by_side: dict[Gender, list[tuple[int, str]]] = {side: [] for side in Gender}

    def add(self, ticket: Ticket, tier: int) -> None:
        if ticket.ticket_id in self._entries:
            raise ValueError(f"ticket {ticket.ticket_id} is in the index already")
        self._entries[ticket.ticket_id] = Entry(ticket, tier)
        insort(self._by_side[ticket.side], ticket.seniority)

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        self._entries[ticket_id].tier = tier

    def remove(self, ticket_id: TicketId) -> Ticket | None:
        entry = self._entries.pop(ticket_id, None)
        if entry is None:
            return None
        order = self._by_side[entry.ticket.side]
        del order[bisect_left(order, entry.ticket.seniority)]
        return entry.ticket

    def get(self, ticket_id: TicketId) -> Entry | None:
        return self._entries.get(ticket_id)

    def candidates(self, ticket: Ticket, tier: int, limit: int) -> list[Ticket]:
        return list(islice(self._compatible(ticket, self._tiers[tier]), limit))

    def _compatible(self, ticket: Ticket, relaxed: Relaxation) -> Iterator[Ticket]:
        entries, tiers = self._entries, self._tiers
        for _, ticket_id in merge(*(self._by_side[side] for side in ticket.wants.sides)):
            entry = entries[TicketId(ticket_id)]
            if compatible(ticket, relaxed, entry.ticket, tiers[entry.tier]):
                yield entry.ticket

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())
