"""The index by bitsets: thousands of waiting tickets are looked at by one operation.

Tickets stand in lanes, one for each side and priority, so that whoever arrives is nearly always the last of a lane.
A lane is a list of pages in the order of rank (see `matchmaker.page`). Whoever comes back gets a slot between those
who were before and behind, in the old page or, where there is no room, in one more; so whose turn it is stays exact.
Pages that have become sparse are merged, so that a search looks at few.
"""

from bisect import bisect_right
from collections.abc import Iterator
from heapq import merge
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from base.ids import TicketId
from base.policy import Gender
from matchmaker.page import SLOTS, Nodes, Page, Placed, Query, query_of, spread_out
from matchmaker.scoring import Relaxation
from matchmaker.table import Entry
from matchmaker.ticket import Ticket

ENOUGH: Final = 32_768
"""So many of those whose turn it is are looked at for more partners to choose from; for the first one, all."""

_SPARSE: Final = SLOTS // 8
_MERGED: Final = SLOTS // 2
_ROOMY: Final = SLOTS // 4

# Where the first ones stand is told exactly: there a place makes a difference.
_EXACT: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200)

_low = attrgetter("low")


class _Lane:
    """The pages of one side and priority; never without a page."""

    __slots__ = ("last", "nodes", "pages", "table", "tiers")

    def __init__(self, table: Placed, nodes: Nodes, tiers: tuple[Relaxation, ...]) -> None:
        self.table = table
        self.nodes = nodes
        self.tiers = tiers
        self.pages: list[Page] = []
        self.last = (0, "")
        """No ticket that was ever put at the end has a higher rank."""

    def put(self, row: int) -> None:
        rank = self.table.tickets[row].rank
        relaxation = self.tiers[self.table.tiers[row]]
        if not self.pages or rank > self.last:
            if not self.pages or self.pages[-1].top == SLOTS:
                self.pages.append(Page(rank, self.table, self.nodes))
            page = self.pages[-1]
            self.last = rank
            page.put(row, page.top, relaxation)
            return
        self._put_between(row, rank, relaxation)

    def _put_between(self, row: int, rank: tuple[int, str], relaxation: Relaxation) -> None:
        number = bisect_right(self.pages, rank, key=_low) - 1
        if number < 0:
            # Older than all there are: the first page's, if it has room at its front, else one more.
            number = 0
            self.pages[0].low = rank
        page = self.pages[number]
        below, above = page.gap_for(rank)
        if above - below == 1:
            page = self._make_room(number, rank, above)
            below, above = page.gap_for(rank)
        # Behind all others the next new slot will do; between two the middle keeps room on both sides.
        behind_all = above == SLOTS and page.top < SLOTS
        page.put(row, page.top if behind_all else (below + above) // 2, relaxation)

    def _make_room(self, number: int, rank: tuple[int, str], above: int) -> Page:
        """The page in which the rank's place is free now; before, `above` was the slot behind it."""
        page = self.pages[number]
        if page.count <= _ROOMY:
            page = self.pages[number] = spread_out(page.waiting(), page, self.tiers)
        elif above == SLOTS:
            page = Page(rank, self.table, self.nodes, SLOTS // 2)
            self.pages.insert(number + 1, page)
        else:
            behind = self.table.tickets[page.rows[above]]
            self.pages.insert(number + 1, page.split(above, behind.rank))
        return page

    def take_out(self, row: int) -> None:
        page = self.table.pages[row]
        page.take_out(self.table.slots[row])
        if page.count < _SPARSE and (len(self.pages) > 1 or not page.count):
            self._tidy(page)

    def _tidy(self, page: Page) -> None:
        """Drops an empty page, and merges a sparse one with a neighbour."""
        number = bisect_right(self.pages, page.low, key=_low) - 1
        if not page.count:
            del self.pages[number]
            return
        for first in (number - 1, number):
            if first < 0 or first + 1 >= len(self.pages):
                continue
            one, two = self.pages[first], self.pages[first + 1]
            filling = first + 2 == len(self.pages) and two.top < SLOTS
            if one.count + two.count <= _MERGED and not filling:
                rows = [*one.waiting(), *two.waiting()]
                self.pages[first : first + 2] = [spread_out(rows, one, self.tiers)]
                return

    def waiting(self) -> Iterator[int]:
        """The rows of all, in order."""
        return chain.from_iterable(page.waiting() for page in self.pages)


class BitsetIndex:
    """Waiting tickets of one pool; fits `matchmaker.index.Index`."""

    __slots__ = ("_lanes", "_nodes", "_tiers", "table")

    def __init__(self, tiers: tuple[Relaxation, ...]) -> None:
        self.table = Placed()
        self._tiers = tiers
        self._nodes = Nodes()
        self._lanes: dict[Gender, dict[int, _Lane]] = {side: {} for side in Gender}

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> None:
        row = self.table.add(ticket, tier, passed)
        lanes = self._lanes[ticket.side]
        lane = lanes.get(ticket.ahead_ms)
        if lane is None:
            lane = lanes[ticket.ahead_ms] = _Lane(self.table, self._nodes, self._tiers)
        lane.put(row)

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        table = self.table
        row = table.row(ticket_id)
        page, slot = table.pages[row], table.slots[row]
        before, table.tiers[row] = self._tiers[table.tiers[row]], tier
        if _includes(self._tiers[tier], before):
            page.widen(slot, self._tiers[tier])
        else:
            page.mark_anew(slot, self._tiers[tier])

    def remove(self, ticket_id: TicketId) -> Entry | None:
        row = self.table.row_of(ticket_id)
        return None if row is None else self.take(row)

    def take(self, row: int) -> Entry:
        ticket = self.table.tickets[row]
        self._lanes[ticket.side][ticket.ahead_ms].take_out(row)
        return self.table.remove(row)

    def candidates(
        self, ticket: Ticket, tier: int, limit: int, regions: frozenset[str] | None = None
    ) -> list[int]:
        query = query_of(ticket, self._tiers[tier], self._nodes, regions)
        runs = [
            found
            for side in ticket.wants.sides
            for lane in self._lanes[side].values()
            if (found := _search(lane, query, ticket, limit))
        ]
        return self._merged(runs, limit)

    def first(self, ticket: Ticket, limit: int) -> list[int]:
        found: list[int] = []
        own = self.table.row_of(ticket.ticket_id)
        for side in ticket.wants.sides:
            lanes = self._lanes[side].values()
            runs = [list(islice((row for row in lane.waiting() if row != own), limit)) for lane in lanes]
            found += self._merged(runs, limit)
        return found

    def _merged(self, runs: list[list[int]], limit: int) -> list[int]:
        if len(runs) == 1:
            return runs[0]
        return sorted((row for run in runs for row in run), key=self._rank)[:limit]

    def _rank(self, row: int) -> tuple[int, str]:
        return self.table.tickets[row].rank

    def marks(self, side: Gender) -> list[tuple[int, int]]:
        lanes = self._lanes[side].values()
        turns = self.table.turns
        in_turn = merge(*(lane.waiting() for lane in lanes), key=self._rank)
        first = list(islice(in_turn, _EXACT[-1] + 1))
        marks = [(place, turns[first[place]]) for place in _EXACT if place < len(first)]
        # Behind those one for each page will do: where it begins, and how many are before it then.
        ahead = 0
        for low, count in sorted(
            (turns[next(page.waiting())], page.count) for lane in lanes for page in lane.pages
        ):
            if ahead > _EXACT[-1]:
                marks.append((ahead, max(low, marks[-1][1])))
            ahead += count
        return marks

    def pages(self) -> int:
        """How many pages there are."""
        return sum(len(lane.pages) for lanes in self._lanes.values() for lane in lanes.values())


def _search(lane: _Lane, query: Query, ticket: Ticket, limit: int) -> list[int]:
    """The rows of the first in a lane that fit."""
    found: list[int] = []
    append, left = found.append, limit
    pages_left = ENOUGH // SLOTS
    for page in lane.pages:
        bits = page.matching(query)
        rows = page.rows
        # As `Page.pick`, but without a generator between: this is where the time goes.
        while bits:
            rest = bits - 1
            append(rows[(bits ^ rest).bit_length() - 1])
            bits &= rest
            left -= 1
            if left:
                continue
            allowed = lane.table.allowed(ticket, found)
            if len(allowed) == limit:
                return allowed
            found, append, left = allowed, allowed.append, limit - len(allowed)
        pages_left -= 1
        if pages_left <= 0 and found:
            # Whoever asks for what is rare has few to choose from, and does not keep all others waiting for more.
            found = lane.table.allowed(ticket, found)
            if found:
                return found
            append, left = found.append, limit
    return lane.table.allowed(ticket, found) if found else found


def _includes(wider: Relaxation, narrower: Relaxation) -> bool:
    """Whether all that one tier accepts, another accepts as well."""
    return (
        wider.age_years >= narrower.age_years
        and wider.any_region >= narrower.any_region
        and wider.any_language >= narrower.any_language
        and (
            wider.any_region
            or all(
                regions <= wider.near.get(region, frozenset()) for region, regions in narrower.near.items()
            )
        )
    )
