"""What the lobby and the worker need from outside.

Every method may raise `Unavailable`: nothing is known to have changed, and the same call may be made again; all
of them are safe to repeat.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

from base.errors import Unavailable
from base.ids import CallId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender
from matchmaker.activity import Activity, InCall, Queued
from matchmaker.matches import Match, MatchRecord, Seat, SeatRef
from matchmaker.outlook import Outlook
from matchmaker.ticket import Ticket

# --- the user's slot ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a user's slot is changed: a device, and the session that it has as far as its node knows.

    Where a session is named, the slot has to have its row, under that generation.
    """

    device_id: DeviceId
    session_id: SessionId | None = None
    generation: int = 0


class UnknownSession(Unavailable):
    """The slot has no row of the session on whose behalf it was to be changed; it was left alone.

    The store has lost the row, or the device has another session by now: register the session again, then ask again.
    """


@dataclass(frozen=True, slots=True)
class Slot:
    """What a user's slot says at `now_ms`; `activity` is `None` for an idle user."""

    now_ms: int
    activity: Activity | None
    device_id: DeviceId | None
    queued_at: int
    """When the user queued for what `activity` names, Unix ms; 0 when idle."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to taking a slot: whether it worked, what stands there now, and whom the user must not meet."""

    taken: bool
    slot: Slot
    exclusions: frozenset[UserId]
    met: frozenset[UserId] = frozenset()
    """Partners of late, not excluded any more."""
    pause_ms: int = 0
    """For so long the user may not queue, after declining repeatedly; the slot is left as it was."""


@dataclass(frozen=True, slots=True)
class Declined:
    """That a user declined, what that costs the first time, the second, and so on, and for how long it counts."""

    pauses_s: Sequence[float]
    counts_s: float


class Entered(Enum):
    """The answer to a user's slot being moved into a call."""

    ENTERED = auto()
    BLOCKED = auto()
    """The other side is among the user's blocks."""
    GONE = auto()
    """The user does something else by now, or went back from this very call."""


class Activities(Protocol):
    """The `activity` of users: the last word about who is in what.

    Whatever takes a caller that names a session raises `UnknownSession` where the slot does not know it.
    """

    async def read(self, user_id: UserId) -> Slot: ...

    async def join(
        self,
        user_id: UserId,
        caller: Caller,
        queued: Queued,
        *,
        replaces: Activity | None = None,
        queued_at: int | None = None,
        met_s: float = 0,
    ) -> Taken:
        """Takes the slot if it is idle or still says `replaces`; `queued_at` (Unix ms) defaults to now.

        Whom the user met counts as `met` for `met_s` (at most a day) after they may meet again.
        """
        ...

    async def leave(self, user_id: UserId, activity: Activity, *, talked: bool = False) -> bool:
        """Makes the user idle if the slot still says `activity`; who `talked` is forgiven for declining before."""
        ...

    async def enter_call(self, ref: SeatRef, caller: Caller | None = None) -> Entered:
        """From the match's ticket to its call, unless the peer is blocked; again: the same answer."""
        ...

    async def return_from_call(self, ref: SeatRef, *, apart_s: float) -> bool:
        """From the call back to the ticket; for `apart_s` the peer is not met by a new ticket.

        On nobody's behalf: the place is the device's, whatever session it has, and whoever ends the call returns it.
        """
        ...

    async def restore_call(
        self, user_id: UserId, caller: Caller, in_call: InCall, *, came_from: Queued | None, queued_at: int
    ) -> bool:
        """Puts back that the user is in a call, where the slot is idle or has fallen back to the ticket before it.

        False where it says something else: that stands.
        """
        ...

    async def free(self, ref: SeatRef, *, apart_s: float, declined: Declined | None = None) -> bool:
        """Makes the user idle if the slot names the match's ticket or call; a decline then counts, once."""
        ...

    async def part(
        self, people: tuple[UserId, UserId], over: Activity, *, apart_s: float, free: Collection[UserId] = ()
    ) -> frozenset[UserId]:
        """For `apart_s` from now the two do not meet again (never shortens).

        Those of them who are to be `free` are idle from now on if their slots still say `over`, and forgiven for
        declining before; answers who is because of this.
        """
        ...

    async def is_away(self, user_id: UserId) -> bool:
        """Whether the user said, on the device that the activity belongs to, that they are away."""
        ...

    async def session_of(self, user_id: UserId, device_id: DeviceId) -> tuple[NodeId, SessionId] | None:
        """Where the session of a device is now."""
        ...


# --- the pool ----------------------------------------------------------------------------------------------------


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

    async def scan(self, pool: str) -> list[StoredTicket]: ...

    def scan_in_parts(self, pool: str) -> AsyncIterator[list[StoredTicket]]:
        """As `scan`, some at a time; what comes twice is as it stands the second time."""
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


# --- the rest of the house ---------------------------------------------------------------------------------------


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
