"""What the lobby and the worker need from outside: the user's slot, the store of the pools, and the rest of the house.

Every method may raise `Unavailable`: nothing is known to have changed, and the same call may be made again; all
of them are safe to repeat.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from base.ids import CallId, NodeId
from matchmaker.matches import Match, Seat
from matchmaker.pools import (
    Arrived,
    Claimed,
    ClaimReply,
    Departed,
    Depths,
    EventBatch,
    Lease,
    Left,
    Paused,
    PoolEvent,
    Put,
    StoredTicket,
    TicketState,
    ticket_of,
)
from matchmaker.queue_store import OutlookSource, QueueStore
from matchmaker.slots import Activities, Caller, Declined, Entered, Slot, Taken, UnknownSession

__all__ = [
    "Activities",
    "Announcer",
    "Arrived",
    "CallOutcome",
    "CallStage",
    "CallStages",
    "Caller",
    "ClaimReply",
    "Claimed",
    "Declined",
    "Departed",
    "Depths",
    "Entered",
    "EventBatch",
    "Lease",
    "Left",
    "NodeLiveness",
    "OutlookSource",
    "Paused",
    "PoolEvent",
    "Put",
    "QueueStore",
    "Slot",
    "StoreHealth",
    "StoredTicket",
    "Taken",
    "TicketState",
    "UnknownSession",
    "ticket_of",
]


class CallStage(Enum):
    """How far a call is, as far as the queue cares."""

    ABSENT = auto()
    """Nobody created it, or its record has expired."""
    SETTING_UP = auto()
    LIVE = auto()
    """It was live; it may be deciding by now."""
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """A call's stage and, once it has ended, which seats go back to the queue, and which had declined."""

    stage: CallStage
    returns: frozenset[Seat] = frozenset()
    declined: frozenset[Seat] = frozenset()


class CallStages(Protocol):
    """Answers about calls."""

    async def stage(self, call_id: CallId) -> CallOutcome: ...


class Announcer(Protocol):
    """Tells both seats' nodes of a match; may be told twice, must not wait for the nodes."""

    async def announce(self, match: Match) -> None: ...


class StoreHealth(Protocol):
    """Knows whether the store has lost something that is being put back right now."""

    def restoring_ms(self) -> int:
        """For how much longer nothing may be granted; 0 when it may."""
        ...

    async def look(self) -> None:
        """Has the store asked, and returns when it was, or could not be: something is missing that should be there."""
        ...

    async def settled(self) -> None:
        """Returns as soon as something may be granted."""
        ...


class NodeLiveness(Protocol):
    """Knows the node incarnations whose leases are current."""

    async def living(self) -> set[NodeId]: ...
