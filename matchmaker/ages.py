"""Ranges of ages as few sets: a small tree over the years, so that a range is a handful of nodes instead of its years.

A year belongs to one node of each level (`path`), a range is covered by the fewest nodes (`cover`): a year is in the
range exactly when the two have a node in common, and they have at most one.
"""

from typing import Final

AGES: Final = 128
_WIDTHS: Final = (128, 16, 4, 1)
_OFFSETS: Final = (0, 1, 9, 41)
NODES: Final = 169
"""One for all years, 8 of 16 years, 32 of 4, 128 of one."""


def path(age: int) -> tuple[int, ...]:
    """The nodes that a year belongs to."""
    year = within(age)
    return tuple(offset + year // width for offset, width in zip(_OFFSETS, _WIDTHS, strict=True))


def cover(youngest: int, oldest: int) -> tuple[int, ...]:
    """The fewest nodes that hold exactly the years from `youngest` to `oldest`, both included."""
    first, last = within(youngest), within(oldest)
    nodes = []
    while first <= last:
        for offset, width in zip(_OFFSETS, _WIDTHS, strict=True):
            if first % width == 0 and first + width - 1 <= last:
                nodes.append(offset + first // width)
                first += width
                break
    return tuple(nodes)


def within(age: int) -> int:
    """The year that an age counts as: there are no others."""
    return min(max(age, 0), AGES - 1)
