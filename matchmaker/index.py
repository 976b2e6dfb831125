"""The index of waiting tickets: what pairing needs of it.

Finds mutually compatible partners, those first whose turn it is. Refuses to know the time: tiers are told, by `add`
and `widen`.
"""

from typing import Protocol

from base.ids import TicketId
from base.policy import Gender
from matchmaker.table import Entry, Table
from matchmaker.ticket import Ticket


class Index(Protocol):
    """Waiting tickets of one pool; those found are named by their rows of the table."""

    @property
    def table(self) -> Table: ...

    def add(self, ticket: Ticket, tier: int, passed: int = 0) -> None:
        """Lets a ticket be found; its id must not be there yet."""
        ...

    def widen(self, ticket_id: TicketId, tier: int) -> None:
        """Relaxes a waiting ticket's wishes in place; it keeps its turn."""
        ...

    def remove(self, ticket_id: TicketId) -> Entry | None:
        """Takes a ticket out; `None` if it is not there."""
        ...

    def take(self, row: int) -> Entry:
        """Takes out whoever stands in a row that is taken."""
        ...

    def candidates(
        self, ticket: Ticket, tier: int, limit: int, regions: frozenset[str] | None = None
    ) -> list[int]:
        """The first `limit` by rank that are compatible with `ticket` at `tier`, and in `regions` if that is given.

        Where few of thousands are, there may be fewer; the first of all is always among them. `ticket` itself need not
        be in the index and never is.
        """
        ...

    def first(self, ticket: Ticket, limit: int) -> list[int]:
        """The first `limit` of each side that `ticket` wants, whether they fit or not: whom it had to do with."""
        ...

    def marks(self, side: Gender) -> list[tuple[int, int]]:
        """Some places in the order of a side's turns: how many are before, and the rank's ms of whoever stands there."""
        ...
