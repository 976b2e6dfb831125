"""Packed users: a set of people as a few bytes each, for those of whom a hundred thousand wait at once.

A set of forty names takes five kilobytes in more than forty places of the memory; this takes half of one, in two. It
knows names by their hashes in this process, 64 bits of them: two people in 10^18 are taken for one another, and do not
meet. Refuses to be stored.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Set
from typing import Final

import msgspec

from base.ids import UserId
from matchmaker.ticket import Ticket

_LOWEST_BYTE: Final = 0 if sys.byteorder == "little" else 7


class PackedUsers:
    """Who is in a set of users; not who they are."""

    __slots__ = ("_hashes", "marks")

    def __init__(self, users: Iterable[UserId]) -> None:
        self._hashes = array("q", [hash(user_id) for user_id in users]).tobytes()
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


def packed(ticket: Ticket) -> tuple[Ticket, PackedUsers]:
    """The ticket with its exclusions packed, and these."""
    excluded: Iterable[UserId] = ticket.exclusions
    if isinstance(excluded, PackedUsers):
        return ticket, excluded
    users = PackedUsers(excluded)
    return msgspec.structs.replace(ticket, exclusions=users), users
