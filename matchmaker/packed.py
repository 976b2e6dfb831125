"""Packed tickets: as small as they can be kept where a hundred thousand wait at once.

What many have alike they share. Whom they exclude is packed: a set of forty names takes five kilobytes in more than
forty places of the memory, its hashes half of one in two. They are those of this process, of 64 bits: two people in
10^18 are taken for one another, and do not meet. Refuses to be stored.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Set
from typing import Final

import msgspec

from base.ids import UserId
from base.policy import Gender
from matchmaker.ticket import Ticket, Wants

_ALIKE_AT_MOST: Final = 4_096
_NOBODY: Final[frozenset[UserId]] = frozenset()
_LOWEST_BYTE: Final = 0 if sys.byteorder == "little" else 7


class PackedUsers:
    """Who is in a set of users; not who they are."""

    __slots__ = ("_hashes", "marks")

    def __init__(self, users: Iterable[UserId]) -> None:
        self._hashes = array("q", list(map(hash, users))).tobytes()
        self.marks = self._hashes[_LOWEST_BYTE::8]
        """The `mark_of` each: whoever's is not among these is not in the set."""

    def __contains__(self, user_id: object) -> bool:
        hashed = hash(user_id)
        return hashed & 255 in self.marks and hashed.to_bytes(8, sys.byteorder, signed=True) in self._hashes

    def __iter__(self) -> Iterator[UserId]:
        raise TypeError("who is packed is not told")

    def __len__(self) -> int:
        return len(self.marks)

    def __eq__(self, other: object) -> bool:
        """Whether it packs a set of users, or the same as another does."""
        if isinstance(other, PackedUsers):
            return set(self._each()) == set(other._each())
        return (
            isinstance(other, Set) and len(self) == len(other) and all(user_id in self for user_id in other)
        )

    __hash__ = None  # type: ignore[assignment]  # a set of the same users has another

    def _each(self) -> "array[int]":
        return array("q", self._hashes)

    def isdisjoint(self, users: Iterable[UserId]) -> bool:
        """Whether none of these users is in the set."""
        return not any(user_id in self for user_id in users)


def mark_of(user_id: UserId) -> int:
    """One byte of a user."""
    return hash(user_id) & 255


class Packer:
    """Packs tickets, and lets them share what many have alike; for one pool."""

    __slots__ = ("_sets", "_texts")

    def __init__(self) -> None:
        self._sets: dict[frozenset[str], frozenset[str]] = {}
        self._texts: dict[str, str] = {}

    def pack(self, ticket: Ticket) -> tuple[Ticket, PackedUsers]:
        """The ticket with its exclusions packed, and these; nothing else of it is changed."""
        excluded: Iterable[UserId] = ticket.exclusions
        if isinstance(excluded, PackedUsers):
            return ticket, excluded
        users, wants = PackedUsers(excluded), ticket.wants
        if len(self._sets) + len(self._texts) > _ALIKE_AT_MOST:
            # Whoever is packed keeps theirs; those who come share among themselves.
            self._sets.clear()
            self._texts.clear()
        # A set takes 200 bytes however small it is, and the collector's time.
        alike, same = self._sets.setdefault, self._texts.setdefault
        sides: dict[frozenset[Gender], frozenset[Gender]] = self._sets  # type: ignore[assignment]  # texts, too
        shared = msgspec.structs.replace(
            ticket,
            intent=same(ticket.intent, ticket.intent),
            node_id=same(ticket.node_id, ticket.node_id),
            languages=alike(ticket.languages, ticket.languages),
            region=None if ticket.region is None else same(ticket.region, ticket.region),
            wants=Wants(
                sides.setdefault(wants.sides, wants.sides),
                wants.age_min,
                wants.age_max,
                alike(wants.languages, wants.languages),
                alike(wants.regions, wants.regions),
            ),
            exclusions=users,
            met=ticket.met or _NOBODY,
        )
        return shared, users
