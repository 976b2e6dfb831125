"""A pool as it is spoken of: where its tickets stand, what happens to them, and what those who ask for it are answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from base.ids import TicketId
from base.policy import Gender
from matchmaker.matches import Seat
from matchmaker.ticket import Ticket


class Put(StrEnum):
    """What became of a ticket that was put into its pool."""

    STORED = "stored"
    UPDATED = "updated"
    """It was there, waiting or paused; it waits now, as put."""
    UNCHANGED = "unchanged"
    MATCHED = "matched"
    ABSENT = "absent"
    """It was to be there already and is not."""
    LATE = "late"
    """The request is too old to be acted on."""


class Left(StrEnum):
    """What became of a ticket that was to leave."""

    LEFT = "left"
    ABSENT = "absent"
    MATCHED = "matched"


class TicketState(StrEnum):
    """Where a ticket stands in its pool."""

    WAITING = "w"
    PAUSED = "p"
    MATCHED = "m"
    ABSENT = ""


@dataclass(frozen=True, slots=True)
class StoredTicket:
    """A ticket with its state; `paused_at` is 0 unless it is paused."""

    ticket: Ticket
    state: TicketState
    paused_at: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A ticket waits: it is new, came back, or was changed. `at_ms` is when the pool heard of it."""

    ticket: Ticket
    at_ms: int


@dataclass(frozen=True, slots=True)
class Paused:
    """A ticket keeps its place but is not matched."""

    ticket_id: TicketId
    paused_at: int


@dataclass(frozen=True, slots=True)
class Departed:
    """A ticket left the pool."""

    ticket_id: TicketId


PoolEvent = Arrived | Paused | Departed


def ticket_of(event: PoolEvent) -> TicketId:
    """Which ticket something happened to."""
    return event.ticket.ticket_id if isinstance(event, Arrived) else event.ticket_id


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in order; `number` counts all events of the pool, so that a gap is seen."""

    cursor: str
    events: Sequence[tuple[int, PoolEvent]]


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to asking for a pool: `token` is empty when another worker owns it for `held_ms` more.

    `cursor` and `number` are the end of the pool's events at that moment.
    """

    token: str
    now_ms: int
    held_ms: int
    cursor: str
    number: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to one pair's claim: which of its tickets turned out not to be waiting (none: it is a match)."""

    lost: frozenset[Seat]


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """The answer to a batch of claims, in its order; `current` is false if the pool has another owner by now.

    `number` is that of the pool's last event before the claim.
    """

    current: bool
    now_ms: int
    number: int
    claims: Sequence[Claimed]


Depths = dict[Gender, dict[TicketState, int]]
