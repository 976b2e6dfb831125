"""The plainest index: looks at the tickets one by one. What any index must answer, and what a better one is beside.

The model in the tests of `matchmaker.bitsets.BitsetIndex`, and the other side of `loadtests.index_bench`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import merge
from itertools import islice

from base.ids import TicketId
from base.policy import Gender
from matchmaker.scoring import Relaxation, compatible
from matchmaker.table import Entry, Table
from matchmaker.ticket import Ticket


class ScanIndex:
    """Fits `matchmaker.index.Index`; correct at any size, quick for some thousands of waiting tickets."""

    __slots__ = ("_by_side", "_tiers", "table")

    def __init__(self, tiers: tuple[Relaxation, ...]) -> None:
        self.table = Table()
        self._tiers = tiers
        self._by_side: dict[Gender, list[tuple[int, str]]] = {side: [] for side in Gender}

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> None:
        self.table.add(ticket, tier, passed)
        insort(self._by_side[ticket.side], ticket.rank)

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        self.table.tiers[self.table.row(ticket_id)] = tier

    def remove(self, ticket_id: TicketId) -> Entry | None:
        row = self.table.row_of(ticket_id)
        return None if row is None else self.take(row)

    def take(self, row: int) -> Entry:
        ticket = self.table.tickets[row]
        order = self._by_side[ticket.side]
        del order[bisect_left(order, ticket.rank)]
        return self.table.remove(row)

    def candidates(
        self, ticket: Ticket, tier: int, limit: int, regions: frozenset[str] | None = None
    ) -> list[int]:
        table, relaxed = self.table, self._tiers[tier]
        fitting = (row for row in self._in_turn(ticket) if self._fits(ticket, relaxed, row))
        return list(
            islice((row for row in fitting if regions is None or table.tickets[row].region in regions), limit)
        )

    def first(self, ticket: Ticket, limit: int) -> list[int]:
        found = []
        for side in ticket.wants.sides:
            others = (ticket_id for _, ticket_id in self._by_side[side] if ticket_id != ticket.ticket_id)
            found += [self.table.row(TicketId(ticket_id)) for ticket_id in islice(others, limit)]
        return found

    def marks(self, side: Gender) -> list[tuple[int, int]]:
        return [(ahead, since) for ahead, (since, _) in enumerate(self._by_side[side])]

    def _in_turn(self, ticket: Ticket) -> Iterator[int]:
        ranks = merge(*(self._by_side[side] for side in ticket.wants.sides))
        return (self.table.row(TicketId(ticket_id)) for _, ticket_id in ranks)

    def _fits(self, ticket: Ticket, relaxed: Relaxation, row: int) -> bool:
        other = self.table.entry(row)
        return compatible(ticket, relaxed, other.ticket, self._tiers[other.tier])
