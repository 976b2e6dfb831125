"""Counts what the index by bitsets does for an arrival: work that no clock and no cache has a part in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

from matchmaker.packed import PackedUsers
from matchmaker.page import Page, Query
from matchmaker.scale import Scale
from matchmaker.ticket import Ticket


@dataclass(slots=True)
class Arrival:
    """What one had to do."""

    pages: int = 0
    """Looked at: some eighteen operations on integers of at most 512 bytes each."""
    weighed: int = 0
    checked: int = 0
    """Candidates whose exclusions were read, since a mark said that the arriving one may be among them."""


@dataclass(slots=True)
class Counts:
    """Of those arrivals for whom somebody of the other side waits."""

    arrivals: list[Arrival] = field(default_factory=list)
    now: Arrival = field(default_factory=Arrival)

    def next(self) -> None:
        """The arrival is over."""
        if self.now.pages:
            self.arrivals.append(self.now)
        self.now = Arrival()

    def row(self) -> str:
        """Cells of a Markdown table: mean, 99th percentile and most of each."""
        return " | ".join(
            _cells([getattr(each, name) for each in self.arrivals])
            for name in ("pages", "weighed", "checked")
        )


@contextmanager
def counted() -> Iterator[Counts]:
    """Counts what happens in the block; call `next` after each arrival."""
    counts = Counts()
    matching, points, contains = Page.matching, Scale.points, PackedUsers.__contains__

    def counted_matching(page: Page, query: Query) -> int:
        counts.now.pages += 1
        return matching(page, query)

    def counted_points(scale: Scale, ticket: Ticket, rows: Sequence[int], now_ms: int) -> list[int]:
        counts.now.weighed += len(rows)
        return points(scale, ticket, rows, now_ms)

    def counted_contains(users: PackedUsers, user_id: object) -> bool:
        counts.now.checked += 1
        return contains(users, user_id)

    _set(counted_matching, counted_points, counted_contains)
    try:
        yield counts
    finally:
        _set(matching, points, contains)


def _set(matching: object, points: object, contains: object) -> None:
    for owner, name, method in (
        (Page, "matching", matching),
        (Scale, "points", points),
        (PackedUsers, "__contains__", contains),
    ):
        setattr(owner, name, method)


def _cells(numbers: list[int]) -> str:
    ordered = sorted(numbers)
    return f"{fmean(ordered):.1f} | {ordered[len(ordered) * 99 // 100]} | {ordered[-1]}"
