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
from matchmaker.index import Entry
from matchmaker.page import SLOTS, Nodes, Page, Placed, Query, query_of, spread_out
from matchmaker.scoring import Relaxation
from matchmaker.ticket import Ticket

_SPARSE: Final = SLOTS // 8
_MERGED: Final = SLOTS // 2
_ROOMY: Final = SLOTS // 4

# Where the first ones stand is told exactly: there a place makes a difference.
_EXACT: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200)

_low = attrgetter("low")
_rank = attrgetter("ticket.rank")


class _Lane:
    """The pages of one side and priority; never without a page."""

    __slots__ = ("last", "nodes", "pages", "tiers")

    def __init__(self, nodes: Nodes, tiers: tuple[Relaxation, ...]) -> None:
        self.nodes = nodes
        self.tiers = tiers
        self.pages: list[Page] = []
        self.last = (0, "")
        """No ticket that was ever put at the end has a higher rank."""

    def put(self, entry: Placed) -> None:
        rank = entry.ticket.rank
        relaxation = self.tiers[entry.tier]
        if not self.pages or rank > self.last:
            if not self.pages or self.pages[-1].top == SLOTS:
                self.pages.append(Page(rank, self.nodes))
            page = self.pages[-1]
            self.last = rank
            page.put(entry, page.top, relaxation)
            return
        self._put_between(entry, rank, relaxation)

    def _put_between(self, entry: Placed, rank: tuple[int, str], relaxation: Relaxation) -> None:
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
        page.put(entry, page.top if behind_all else (below + above) // 2, relaxation)

    def _make_room(self, number: int, rank: tuple[int, str], above: int) -> Page:
        """The page in which the rank's place is free now; before, `above` was the slot behind it."""
        page = self.pages[number]
        if page.count <= _ROOMY:
            page = self.pages[number] = spread_out(page.entries(), page.low, self.nodes, self.tiers)
        elif above == SLOTS:
            page = Page(rank, self.nodes, SLOTS // 2)
            self.pages.insert(number + 1, page)
        else:
            behind = next(page.pick(1 << above))
            self.pages.insert(number + 1, page.split(above, behind.ticket.rank))
        return page

    def take_out(self, entry: Placed) -> None:
        page = entry.page
        page.take_out(entry)
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
                entries = [*one.entries(), *two.entries()]
                self.pages[first : first + 2] = [spread_out(entries, one.low, self.nodes, self.tiers)]
                return


class BitsetIndex:
    """Waiting tickets of one pool; fits `matchmaker.index.Index`."""

    __slots__ = ("_entries", "_lanes", "_nodes", "_tiers")

    def __init__(self, tiers: tuple[Relaxation, ...]) -> None:
        self._tiers = tiers
        self._nodes = Nodes()
        self._entries: dict[TicketId, Placed] = {}
        self._lanes: dict[Gender, dict[int, _Lane]] = {side: {} for side in Gender}

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> None:
        if ticket.ticket_id in self._entries:
            raise ValueError(f"ticket {ticket.ticket_id} is in the index already")
        entry = self._entries[ticket.ticket_id] = Placed(ticket, tier, passed)
        lanes = self._lanes[ticket.side]
        lane = lanes.get(ticket.ahead_ms)
        if lane is None:
            lane = lanes[ticket.ahead_ms] = _Lane(self._nodes, self._tiers)
        lane.put(entry)

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        entry = self._entries[ticket_id]
        page = entry.page
        narrower = not _includes(self._tiers[tier], self._tiers[entry.tier])
        entry.tier = tier
        if narrower:
            page.unmark(entry)
            page.mark(entry, self._tiers[tier])
        else:
            page.mark_wishes(entry.ticket, self._tiers[tier], 1 << entry.slot)

    def remove(self, ticket_id: TicketId) -> Entry | None:
        entry = self._entries.pop(ticket_id, None)
        if entry is not None:
            ticket = entry.ticket
            self._lanes[ticket.side][ticket.ahead_ms].take_out(entry)
        return entry

    def get(self, ticket_id: TicketId) -> Entry | None:
        return self._entries.get(ticket_id)

    def candidates(
        self, ticket: Ticket, tier: int, limit: int, regions: frozenset[str] | None = None
    ) -> list[Entry]:
        query = query_of(ticket, self._tiers[tier], self._nodes, regions)
        runs = [
            found
            for side in ticket.wants.sides
            for lane in self._lanes[side].values()
            if (found := _search(lane, query, ticket, limit))
        ]
        return _merged(runs, limit)

    def first(self, ticket: Ticket, limit: int) -> list[Entry]:
        found: list[Entry] = []
        for side in ticket.wants.sides:
            runs: list[list[Entry]] = []
            for lane in self._lanes[side].values():
                waiting = chain.from_iterable(page.entries() for page in lane.pages)
                others = (entry for entry in waiting if entry.ticket.ticket_id != ticket.ticket_id)
                runs.append(list(islice(others, limit)))
            found += _merged(runs, limit)
        return found

    def marks(self, side: Gender) -> list[tuple[int, int]]:
        lanes = self._lanes[side].values()
        in_turn = [chain.from_iterable(page.entries() for page in lane.pages) for lane in lanes]
        first = list(islice(merge(*in_turn, key=_rank), _EXACT[-1] + 1))
        marks = [(place, first[place].ticket.rank[0]) for place in _EXACT if place < len(first)]
        # Behind those one for each page will do: where it begins, and how many are before it then.
        ahead = 0
        for low, count in sorted(
            (next(page.entries()).ticket.rank[0], page.count) for lane in lanes for page in lane.pages
        ):
            if ahead > _EXACT[-1]:
                marks.append((ahead, max(low, marks[-1][1])))
            ahead += count
        return marks

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def pages(self) -> int:
        """How many pages there are."""
        return sum(len(lane.pages) for lanes in self._lanes.values() for lane in lanes.values())


def _search(lane: _Lane, query: Query, ticket: Ticket, limit: int) -> list[Entry]:
    found: list[Entry] = []
    user_id, exclusions = ticket.user_id, ticket.exclusions
    append, left = found.append, limit
    for page in lane.pages:
        bits = page.matching(query)
        slots = page.slots
        # As `Page.pick`, but without a generator between: this is where the time goes.
        while bits:
            rest = bits - 1
            entry = slots[(bits ^ rest).bit_length() - 1]
            bits &= rest
            if entry is None:
                continue
            other = entry.ticket
            other_id = other.user_id
            if other_id in exclusions or user_id in other.exclusions or other_id == user_id:
                continue
            append(entry)
            left -= 1
            if not left:
                return found
    return found


def _merged(runs: list[list[Entry]], limit: int) -> list[Entry]:
    if len(runs) == 1:
        return runs[0]
    return sorted((entry for run in runs for entry in run), key=_rank)[:limit]


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
