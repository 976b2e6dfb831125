"""The scale: weighs many possible partners against each other by the table's columns.

Answers what `matchmaker.scoring.fit` and `urgency` say of each, without touching their tickets: how well two kinds of
people fit is worked out once for all who are alike, and ages are looked up.
"""

from collections.abc import Sequence
from typing import Final

from base.ids import UserId
from matchmaker.ages import AGES, within
from matchmaker.scoring import (
    LEAVES_SOON_MS,
    LEAVING,
    MET_BEFORE,
    POINTS_PER_WAITED_MS,
    Rules,
    age_points,
    kind_points,
    pass_points,
)
from matchmaker.table import MOST_PASSES, Kind, Table
from matchmaker.ticket import Ticket

KNOWN_AT_MOST: Final = 65_536

_BY_AGE: Final = tuple(tuple(age_points(one, other) for other in range(AGES)) for one in range(AGES))
_BY_PASSES: Final = tuple(pass_points(passed) for passed in range(MOST_PASSES + 1))


class _KnownKinds(dict[Kind, int]):
    """How well each kind of people fits one kind."""

    __slots__ = ("_kind", "_scale")

    def __init__(self, kind: Kind, scale: "Scale") -> None:
        self._kind = kind
        self._scale = scale

    def __missing__(self, other: Kind) -> int:
        points = self[other] = self._scale.work_out(self._kind, other)
        return points


class Scale:
    """Weighs the rows of one table by an intent's rules."""

    __slots__ = ("_known", "_rules", "_table", "_worked_out")

    def __init__(self, rules: Rules, table: Table) -> None:
        self._rules = rules
        self._table = table
        self._known: dict[Kind, _KnownKinds] = {}
        self._worked_out = 0

    def points(self, ticket: Ticket, rows: Sequence[int], now_ms: int) -> list[int]:
        """What speaks for each of the rows as a partner for the ticket: fit and urgency together."""
        table = self._table
        by_age, by_kind = _BY_AGE[within(ticket.age)], self._by_kind(table.kind_of(ticket))
        ages, kinds, passed, turns = table.ages, table.kinds, table.passed, table.turns
        points = [
            by_age[ages[row]]
            + by_kind[kinds[row]]
            + _BY_PASSES[passed[row]]
            + (now_ms - turns[row]) * POINTS_PER_WAITED_MS
            for row in rows
        ]
        if ticket.met or table.met:
            self._count_met(ticket, rows, points)
        if table.leaves_at:
            self._count_leaving(rows, now_ms, points)
        return points

    def work_out(self, one: Kind, other: Kind) -> int:
        """How well two kinds fit, for whoever remembers it."""
        self._worked_out += 1
        return kind_points(one, other, self._rules)

    def _by_kind(self, kind: Kind) -> _KnownKinds:
        if self._worked_out > KNOWN_AT_MOST:
            self._known.clear()
            self._worked_out = 0
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = _KnownKinds(kind, self)
        return known

    def _count_met(self, ticket: Ticket, rows: Sequence[int], points: list[int]) -> None:
        mine, theirs, users = ticket.met, self._table.met, self._table.users
        nobody: frozenset[UserId] = frozenset()
        for number, row in enumerate(rows):
            if users[row] in mine or ticket.user_id in theirs.get(row, nobody):
                points[number] += MET_BEFORE

    def _count_leaving(self, rows: Sequence[int], now_ms: int, points: list[int]) -> None:
        leaves_at = self._table.leaves_at
        for number, row in enumerate(rows):
            if leaves_at.get(row, now_ms + LEAVES_SOON_MS + 1) - now_ms <= LEAVES_SOON_MS:
                points[number] += LEAVING
