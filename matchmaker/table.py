"""The table of those who wait: what finding and comparing partners needs of each ticket, column by column.

A ticket has a row while it waits; rows are used again. Tickets lie all over the memory of a large process, and to look
at one is to wait for it. So what is compared of many at once is kept side by side, here, in a few bytes a ticket, and
a ticket itself is only touched when it is chosen. Refuses to know who fits whom, and whose turn it is.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from base.ids import TicketId, UserId
from matchmaker.ages import within
from matchmaker.packed import Packer, mark_of
from matchmaker.ticket import Ticket

MOST_PASSES: Final = 255
"""Whoever was passed over more often than that has it counted no further."""

KINDS_AT_MOST: Final = 4_096
_NOBODY: Final = UserId("")


@dataclass(slots=True)
class Entry:
    """A waiting ticket, the tier up to which its wishes are relaxed, and how often it was passed over."""

    ticket: Ticket
    tier: int
    passed: int = 0


class Kind:
    """What counts of people beside their age, when it is asked how well they fit; one object for all who are alike."""

    __slots__ = ("languages", "region", "verified")

    def __init__(self, region: str | None, languages: frozenset[str], *, verified: bool) -> None:
        self.region = region
        self.languages = languages
        self.verified = verified


# In rows that are free.
_NO_TICKET: Final = cast("Ticket", None)
_NO_KIND: Final = Kind(None, frozenset(), verified=False)


class Table:
    """Waiting tickets by row."""

    __slots__ = (
        "_free",
        "_kinds",
        "_rows",
        "ages",
        "kinds",
        "leaves_at",
        "marks",
        "met",
        "packer",
        "passed",
        "tickets",
        "tiers",
        "turns",
        "users",
    )

    def __init__(self) -> None:
        self._rows: dict[TicketId, int] = {}
        self._free: list[int] = []
        self.packer = Packer()
        self._kinds: dict[tuple[str | None, frozenset[str], bool], Kind] = {}
        self.tickets: list[Ticket] = []
        self.users: list[UserId] = []
        self.marks: list[bytes] = []
        """Of those whom each excludes (see `PackedUsers.marks`)."""
        self.kinds: list[Kind] = []
        self.ages = bytearray()
        self.tiers = bytearray()
        self.passed = bytearray()
        self.turns = array("q")
        """Since when each counts as waiting, Unix ms."""
        # Few have either: by row, of those who do.
        self.met: dict[int, frozenset[UserId]] = {}
        self.leaves_at: dict[int, int] = {}

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> int:
        """The row that a ticket has from now on.

        Raises:
            ValueError: it has one already.
        """
        if ticket.ticket_id in self._rows:
            raise ValueError(f"ticket {ticket.ticket_id} waits already")
        row = self._free.pop() if self._free else self._one_more()
        self._rows[ticket.ticket_id] = row
        self.tickets[row], exclusions = self.packer.pack(ticket)
        self.users[row] = ticket.user_id
        self.marks[row] = exclusions.marks
        self.kinds[row] = self.kind_of(ticket)
        self.ages[row] = within(ticket.age)
        self.tiers[row] = tier
        self.passed[row] = min(passed, MOST_PASSES)
        self.turns[row] = ticket.queued_at - ticket.ahead_ms
        if ticket.met:
            self.met[row] = ticket.met
        if ticket.leaves_at:
            self.leaves_at[row] = ticket.leaves_at
        return row

    def _one_more(self) -> int:
        self.tickets.append(_NO_TICKET)
        self.users.append(_NOBODY)
        self.marks.append(b"")
        self.kinds.append(_NO_KIND)
        self.turns.append(0)
        for column in (self.ages, self.tiers, self.passed):
            column.append(0)
        return len(self.tickets) - 1

    def remove(self, row: int) -> Entry:
        """What stood in a row, which is free now."""
        entry = self.entry(row)
        del self._rows[entry.ticket.ticket_id]
        self.tickets[row], self.users[row], self.kinds[row] = _NO_TICKET, _NOBODY, _NO_KIND
        self.marks[row] = b""
        self.met.pop(row, None)
        self.leaves_at.pop(row, None)
        self._free.append(row)
        return entry

    def row_of(self, ticket_id: TicketId) -> int | None:
        return self._rows.get(ticket_id)

    def row(self, ticket_id: TicketId) -> int:
        """The row of a ticket. Raises: KeyError where it has none."""
        return self._rows[ticket_id]

    def get(self, ticket_id: TicketId) -> Entry | None:
        """What stands of a ticket, as of now."""
        row = self._rows.get(ticket_id)
        return None if row is None else self.entry(row)

    def entry(self, row: int) -> Entry:
        """What stands in a row that is taken, as of now."""
        return Entry(self.tickets[row], self.tiers[row], self.passed[row])

    def pass_over(self, rows: Sequence[int]) -> None:
        """Gives credit to those before whom somebody else was preferred."""
        passed = self.passed
        for row in rows:
            if passed[row] < MOST_PASSES:
                passed[row] += 1

    def allowed(self, ticket: Ticket, rows: list[int]) -> list[int]:
        """Those of the rows whom a ticket may meet: somebody else, and neither of the two excludes the other."""
        user_id, exclusions, tickets = ticket.user_id, ticket.exclusions, self.tickets
        others = list(map(self.users.__getitem__, rows))
        refused: set[int] = set()
        if user_id in others or not exclusions.isdisjoint(others):
            refused.update(
                row
                for row, other in zip(rows, others, strict=True)
                if other == user_id or other in exclusions
            )
        mark, marks = mark_of(user_id), self.marks
        for row in rows:
            # One byte of all whom they exclude tells most often that they do not, and lies near those of others.
            if mark in marks[row] and user_id in tickets[row].exclusions:
                refused.add(row)
        return [row for row in rows if row not in refused] if refused else rows

    def kind_of(self, ticket: Ticket) -> Kind:
        """What counts of somebody beside their age."""
        key = (ticket.region, ticket.languages, ticket.verified)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_AT_MOST:
                # Those who wait keep theirs; whoever comes and is like them has another, which is as good.
                self._kinds.clear()
            kind = self._kinds[key] = Kind(ticket.region, ticket.languages, verified=ticket.verified)
        return kind

    def ids(self) -> Iterable[TicketId]:
        """Those of all tickets."""
        return self._rows.keys()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows.values())
