"""A page of the index: up to 4,096 waiting tickets, what they are and whom they want, as bits of large integers.

A ticket has a slot; slots are in the order of rank, so that the lowest set bit is whose turn it is first. For each
value of each dimension one integer holds "is" and one "wants"; partners are found for the whole page at once by a
dozen operations on integers of 512 bytes. Whoever goes leaves stale bits behind, which count for nothing and are
wiped before the slot is used again. Refuses to know other pages, and users: blocks are the index's.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar, cast

import msgspec

from base.policy import Gender
from matchmaker.ages import NODES, cover, path
from matchmaker.scoring import Relaxation, wanted_ages, wanted_languages, wanted_regions
from matchmaker.table import Entry, Table
from matchmaker.ticket import Ticket

SLOTS: Final = 4_096

_Key = TypeVar("_Key")


class Placed(Table):
    """A table whose rows stand in slots of pages."""

    __slots__ = ("pages", "slots")

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[Page] = []
        self.slots = array("H")

    def _one_more(self) -> int:
        self.pages.append(_NOWHERE)
        self.slots.append(0)
        return super()._one_more()

    def remove(self, row: int) -> Entry:
        self.pages[row] = _NOWHERE
        return super().remove(row)


class Query(msgspec.Struct, frozen=True, gc=False):
    """What a ticket is and wants, as a page looks for it; `None` where anything will do."""

    side: Gender
    age_path: tuple[int, ...]
    region: str | None
    languages: frozenset[str]
    ages: tuple[int, ...] | None
    regions: frozenset[str] | None
    wanted_languages: frozenset[str] | None


class Nodes:
    """The nodes of ages and ranges, each worked out once."""

    __slots__ = ("_covers", "_paths")

    def __init__(self) -> None:
        self._paths: dict[int, tuple[int, ...]] = {}
        self._covers: dict[tuple[int, int], tuple[int, ...]] = {}

    def path(self, age: int) -> tuple[int, ...]:
        found = self._paths.get(age)
        if found is None:
            found = self._paths[age] = path(age)
        return found

    def cover(self, ages: tuple[int, int]) -> tuple[int, ...]:
        found = self._covers.get(ages)
        if found is None:
            found = self._covers[ages] = cover(*ages)
        return found


def query_of(ticket: Ticket, relaxation: Relaxation, nodes: Nodes, within: frozenset[str] | None) -> Query:
    """What a page is asked for a ticket; only partners of the regions `within`, if those are given."""
    ages = nodes.cover(wanted_ages(ticket, relaxation))
    regions = wanted_regions(ticket, relaxation)
    if within is not None:
        regions = within if regions is None else regions & within
    return Query(
        ticket.side,
        nodes.path(ticket.age),
        ticket.region,
        ticket.languages,
        None if ages == _ALL_AGES else ages,
        regions,
        wanted_languages(ticket, relaxation),
    )


class Page:
    """Tickets of one side, in the order of rank."""

    __slots__ = (
        "any_language",
        "any_region",
        "count",
        "is_age",
        "is_in",
        "live",
        "low",
        "nodes",
        "rows",
        "says_no_language",
        "speaks",
        "stale",
        "table",
        "top",
        "wants_age",
        "wants_language",
        "wants_region",
        "wants_side",
    )

    def __init__(self, low: tuple[int, str], table: Placed, nodes: Nodes, first_slot: int = 0) -> None:
        self.table = table
        self.low = low
        """No ticket of this page has a lower rank, none of the pages before it a higher one."""
        self.nodes = nodes
        self.top = first_slot
        """Above all slots ever used."""
        self.count = 0
        self.live = 0
        self.stale = 0
        self.rows = array("i", (_FREE,)) * SLOTS
        """By slot; of those that are not live any row that was there, or none."""
        self.is_age = [0] * NODES
        self.wants_age = [0] * NODES
        self.is_in: dict[str | None, int] = {}
        self.wants_region: dict[str, int] = {}
        self.any_region = 0
        self.speaks: dict[str, int] = {}
        self.says_no_language = 0
        self.wants_language: dict[str, int] = {}
        self.any_language = 0
        self.wants_side: dict[Gender, int] = dict.fromkeys(Gender, 0)

    # --- who is here ---------------------------------------------------------------------------------------------

    def put(self, row: int, slot: int, relaxation: Relaxation) -> None:
        """Puts a row of the table into a free slot."""
        bit = 1 << slot
        if self.stale & bit:
            self._wipe()
        self.rows[slot] = row
        table = self.table
        table.pages[row], table.slots[row] = self, slot
        self.live |= bit
        self.count += 1
        if slot >= self.top:
            self.top = slot + 1
        ticket = table.tickets[row]
        self._mark_person(ticket, bit)
        self._mark_wishes(ticket, relaxation, bit)

    def take_out(self, slot: int) -> None:
        """Frees a slot."""
        bit = 1 << slot
        self.live ^= bit
        self.stale |= bit
        self.count -= 1

    def widen(self, slot: int, relaxation: Relaxation) -> None:
        """Notes what whoever stands in a slot accepts now; beside what they accepted before."""
        self._mark_wishes(self.table.tickets[self.rows[slot]], relaxation, 1 << slot)

    def mark_anew(self, slot: int, relaxation: Relaxation) -> None:
        """Notes what whoever stands in a slot accepts now, which may be less than before."""
        bit = 1 << slot
        self.stale |= bit
        self._wipe()
        ticket = self.table.tickets[self.rows[slot]]
        self._mark_person(ticket, bit)
        self._mark_wishes(ticket, relaxation, bit)

    def _mark_person(self, ticket: Ticket, bit: int) -> None:
        is_age = self.is_age
        for node in self.nodes.path(ticket.age):
            is_age[node] |= bit
        self.is_in[ticket.region] = self.is_in.get(ticket.region, 0) | bit
        if ticket.languages:
            speaks = self.speaks
            for language in ticket.languages:
                speaks[language] = speaks.get(language, 0) | bit
        else:
            self.says_no_language |= bit

    def _mark_wishes(self, ticket: Ticket, relaxation: Relaxation, bit: int) -> None:
        wants_age = self.wants_age
        for node in self.nodes.cover(wanted_ages(ticket, relaxation)):
            wants_age[node] |= bit
        regions = wanted_regions(ticket, relaxation)
        if regions is None:
            self.any_region |= bit
        else:
            wants_region = self.wants_region
            for region in regions:
                wants_region[region] = wants_region.get(region, 0) | bit
        languages = wanted_languages(ticket, relaxation)
        if languages is None:
            self.any_language |= bit
        else:
            wants_language = self.wants_language
            for language in languages:
                wants_language[language] = wants_language.get(language, 0) | bit
        for side in ticket.wants.sides:
            self.wants_side[side] |= bit

    def _wipe(self) -> None:
        """Removes the bits of all who went."""
        keep = ((1 << SLOTS) - 1) ^ self.stale
        self._keep(keep)
        self.stale = 0

    def _keep(self, keep: int) -> None:
        self.is_age = [bits & keep for bits in self.is_age]
        self.wants_age = [bits & keep for bits in self.wants_age]
        self.any_region &= keep
        self.any_language &= keep
        self.says_no_language &= keep
        self.is_in = _kept(self.is_in, keep)
        self.wants_region = _kept(self.wants_region, keep)
        self.speaks = _kept(self.speaks, keep)
        self.wants_language = _kept(self.wants_language, keep)
        self.wants_side = {side: bits & keep for side, bits in self.wants_side.items()}

    def waiting(self) -> Iterator[int]:
        """The rows of those who wait here, in order; all of them must be taken."""
        return self.pick(self.live)

    def pick(self, bits: int) -> Iterator[int]:
        """The rows of some live slots, in order."""
        rows = self.rows
        while bits:
            rest = bits - 1
            yield rows[(bits ^ rest).bit_length() - 1]
            bits &= rest

    # --- whom they fit -------------------------------------------------------------------------------------------

    def matching(self, query: Query) -> int:
        """The slots of all who are mutually compatible with the query; blocks are not looked at."""
        found = self.live & self.wants_side[query.side]
        if query.languages:
            bits, wants_language = self.any_language, self.wants_language
            for language in query.languages:
                bits |= wants_language.get(language, 0)
            found &= bits
        if query.wanted_languages is not None:
            bits, speaks = self.says_no_language, self.speaks
            for language in query.wanted_languages:
                bits |= speaks.get(language, 0)
            found &= bits
        if not found:
            return 0
        bits = self.any_region
        if query.region is not None:
            bits |= self.wants_region.get(query.region, 0)
        found &= bits
        if query.regions is not None:
            bits, is_in = 0, self.is_in
            for region in query.regions:
                bits |= is_in.get(region, 0)
            found &= bits
        if not found:
            return 0
        bits, nodes = 0, self.wants_age
        for node in query.age_path:
            bits |= nodes[node]
        found &= bits
        if query.ages is not None and found:
            bits, nodes = 0, self.is_age
            for node in query.ages:
                bits |= nodes[node]
            found &= bits
        return found

    # --- the order of slots --------------------------------------------------------------------------------------

    def gap_for(self, rank: tuple[int, str]) -> tuple[int, int]:
        """The slots of the neighbours of a rank: below it -1, above it `SLOTS` where there is none."""
        below, above = -1, SLOTS
        while True:
            middle = (below + above) // 2
            window = (self.live >> (below + 1)) & ((1 << (middle - below)) - 1)
            if window:
                probe = below + window.bit_length()
            else:
                window = (self.live >> (middle + 1)) & ((1 << (above - middle - 1)) - 1)
                if not window:
                    return below, above
                probe = middle + (window & -window).bit_length()
            if self.table.tickets[self.rows[probe]].rank < rank:
                below = probe
            else:
                above = probe

    def split(self, slot: int, low: tuple[int, str]) -> "Page":
        """Moves the slots from `slot` on into a page of their own, which begins at the rank `low`."""
        self._wipe()
        upper = Page(low, self.table, self.nodes, slot)
        lower_half = (1 << slot) - 1
        for name in ("any_language", "any_region", "live", "says_no_language"):
            setattr(upper, name, getattr(self, name) & ~lower_half)
        for name in ("is_in", "speaks", "wants_language", "wants_region"):
            setattr(upper, name, _kept(getattr(self, name), ~lower_half))
        upper.wants_side = {side: bits & ~lower_half for side, bits in self.wants_side.items()}
        upper.is_age = [bits & ~lower_half for bits in self.is_age]
        upper.wants_age = [bits & ~lower_half for bits in self.wants_age]
        upper.top, self.top = max(self.top, slot), min(self.top, slot)
        upper.rows[slot:] = self.rows[slot:]
        self.live &= lower_half
        self._keep(lower_half)
        upper.count, self.count = upper.live.bit_count(), self.live.bit_count()
        for row in upper.waiting():
            self.table.pages[row] = upper
        return upper


def spread_out(rows: Iterable[int], like: Page, tiers: tuple[Relaxation, ...]) -> Page:
    """A new page in the place of one like this, with these rows in order and room between them for who comes back."""
    waiting = list(rows)
    page = Page(like.low, like.table, like.nodes)
    step = SLOTS // (len(waiting) + 1)
    for number, row in enumerate(waiting, start=1):
        page.put(row, number * step - 1, tiers[like.table.tiers[row]])
    return page


def _kept(sets: dict[_Key, int], keep: int) -> dict[_Key, int]:
    return {value: left for value, bits in sets.items() if (left := bits & keep)}


_ALL_AGES: Final = (0,)
_FREE: Final = -1
_NOWHERE: Final = cast("Page", None)
