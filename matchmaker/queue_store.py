"""The store of the pools: tickets, their events, matches until resolved, and the owner's lease.

Every method may raise `Unavailable`: nothing is known to have changed, and the same call may be made again; all
of them are safe to repeat.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from base.ids import CallId, TicketId
from matchmaker.matches import Match, MatchRecord, Seat, SeatRef
from matchmaker.outlook import Outlook
from matchmaker.pools import ClaimReply, Depths, EventBatch, Lease, Left, Put, StoredTicket, TicketState
from matchmaker.ticket import Ticket


class OutlookSource(Protocol):
    """Reads what the owners of pools publish."""

    async def outlook(self, pool: str) -> Outlook | None:
        """What the owner said within the last seconds, if there is one."""
        ...


class QueueStore(OutlookSource, Protocol):
    """The pools: tickets, their events, matches until resolved, and the owner's lease."""

    async def put(
        self, ticket: Ticket, *, issued_at: int | None = None, create: bool = True, paused: bool = False
    ) -> Put:
        """Lets a ticket wait: stored if absent (and `create`), else as put; a matched one is left alone.

        With `paused` it is stored so, or paused where it waits; one that is paused already goes on with its pause.
        Refused as `LATE` when `issued_at` (Unix ms) is more than 5 s ago.
        """
        ...

    async def leave(self, pool: str, ticket_id: TicketId) -> Left: ...

    async def state(self, pool: str, ticket_id: TicketId) -> TicketState: ...

    async def states(self, pool: str, ticket_ids: Sequence[TicketId]) -> list[TicketState]:
        """Where some tickets stand, all at one moment."""
        ...

    async def find(self, pool: str, ticket_id: TicketId) -> StoredTicket | None:
        """The ticket as it stands; None where there is none, or one that nobody can read."""
        ...

    async def pause(
        self, pool: str, ticket_ids: Sequence[TicketId], *, anew: bool = False
    ) -> list[TicketState]:
        """Pauses those that wait; with `anew`, the pause of those that are paused already begins again.

        Answers how each stands now; one that is matched, or gone, is left so.
        """
        ...

    async def drop_paused(
        self, pool: str, token: str, ticket_ids: Sequence[TicketId], *, paused_s: float
    ) -> list[Ticket]:
        """Removes those that have been paused for `paused_s`, for the owner; answers which."""
        ...

    async def acknowledge(self, pool: str, known: Mapping[CallId, Collection[Seat]]) -> list[bool]:
        """Notes that sides know of their matches; false, in the same order, if there is no such match any more."""
        ...

    async def resolve(self, ref: SeatRef, *, returns: bool, paused: bool = False) -> TicketState:
        """Lets a matched ticket wait again at its place, `paused` or not, or removes it; answers how it stands now.

        The match goes away when both sides are resolved.
        """
        ...

    async def settle(self, pool: str, call_id: CallId) -> bool:
        """The call is live: removes match and tickets; false if they were gone."""
        ...

    async def depths(self, pool: str) -> Depths:
        """How many tickets stand where, by side; does not grow with the pool."""
        ...

    async def enrol(self, member: str, pools: Sequence[str], *, ttl_ms: int) -> dict[str, set[str]]:
        """Lets everybody know for so long that a matchmaker stands for pools (0: not any more); answers who does."""
        ...

    async def owned_for(self, pool: str) -> int:
        """For how many more ms somebody owns the pool; 0 if nobody does."""
        ...

    async def take_lease(self, pool: str, nonce: str, *, ttl_ms: int) -> Lease:
        """Becomes the pool's owner if it has none; the same `nonce` again gets the same token."""
        ...

    async def keep_lease(self, pool: str, token: str, *, ttl_ms: int) -> Lease:
        """Goes on owning the pool; with a token that is not its owner's nothing happens, and the answer has none."""
        ...

    async def drop_lease(self, pool: str, token: str) -> None: ...

    def scan_in_parts(self, pool: str) -> AsyncIterator[list[StoredTicket]]:
        """All tickets of the pool, some at a time; what comes twice is as it stands the second time."""
        ...

    async def matches(self, pool: str) -> list[MatchRecord]: ...

    async def match_records(self, pool: str, call_ids: Sequence[CallId]) -> dict[CallId, MatchRecord]:
        """Those of the matches that are not resolved yet."""
        ...

    async def events(self, pool: str, cursor: str, *, limit: int, block_ms: int) -> EventBatch:
        """The events after `cursor`, waiting up to `block_ms` for the first."""
        ...

    async def trim(self, pool: str, token: str, cursor: str) -> None:
        """Forgets events before `cursor`, which their only reader has seen."""
        ...

    async def publish(self, pool: str, token: str, outlook: Outlook, *, ttl_ms: int) -> bool:
        """Lets everybody see the outlook, for the owner; false if the pool has another by now."""
        ...

    async def claim(self, pool: str, token: str, matches: Sequence[Match]) -> ClaimReply:
        """Turns pairs of waiting tickets into matches, each pair whole or not at all."""
        ...
