"""The plainest index: looks at the tickets one by one. What any index must answer, and what a better one is beside.

The model in the tests of `matchmaker.bitsets.BitsetIndex`, and the other side of `loadtests.index_bench`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import merge
from itertools import islice

from base.ids import TicketId
from base.policy import Gender
from matchmaker.index import Entry
from matchmaker.scoring import Relaxation, compatible
from matchmaker.ticket import Ticket


class ScanIndex:
    """Fits `matchmaker.index.Index`; correct at any size, quick for some thousands of waiting tickets."""

    __slots__ = ("_by_side", "_entries", "_tiers")

    def __init__(self, tiers: tuple[Relaxation, ...]) -> None:
        self._tiers = tiers
        self._entries: dict[TicketId, Entry] = {}
        self._by_side: dict[Gender, list[tuple[int, str]]] = {side: [] for side in Gender}

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> None:
        if ticket.ticket_id in self._entries:
            raise ValueError(f"ticket {ticket.ticket_id} is in the index already")
        self._entries[ticket.ticket_id] = Entry(ticket, tier, passed)
        insort(self._by_side[ticket.side], ticket.rank)

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        self._entries[ticket_id].tier = tier

    def remove(self, ticket_id: TicketId) -> Entry | None:
        entry = self._entries.pop(ticket_id, None)
        if entry is None:
            return None
        order = self._by_side[entry.ticket.side]
        del order[bisect_left(order, entry.ticket.rank)]
        return entry

    def get(self, ticket_id: TicketId) -> Entry | None:
        return self._entries.get(ticket_id)

    def candidates(
        self, ticket: Ticket, tier: int, limit: int, regions: frozenset[str] | None = None
    ) -> list[Entry]:
        fitting = self._compatible(ticket, self._tiers[tier])
        return list(
            islice((entry for entry in fitting if regions is None or entry.ticket.region in regions), limit)
        )

    def first(self, ticket: Ticket, limit: int) -> list[Entry]:
        found = []
        for side in ticket.wants.sides:
            others = (ticket_id for _, ticket_id in self._by_side[side] if ticket_id != ticket.ticket_id)
            found += [self._entries[TicketId(ticket_id)] for ticket_id in islice(others, limit)]
        return found

    def marks(self, side: Gender) -> list[tuple[int, int]]:
        return [(ahead, since) for ahead, (since, _) in enumerate(self._by_side[side])]

    def _compatible(self, ticket: Ticket, relaxed: Relaxation) -> Iterator[Entry]:
        entries, tiers = self._entries, self._tiers
        for _, ticket_id in merge(*(self._by_side[side] for side in ticket.wants.sides)):
            entry = entries[TicketId(ticket_id)]
            if compatible(ticket, relaxed, entry.ticket, tiers[entry.tier]):
                yield entry

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())
