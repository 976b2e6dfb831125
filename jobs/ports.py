"""What the jobs need from outside, as they want it; `storage` fits these, `minuet.wiring` joins them.

Every method may raise `base.errors.Unavailable`: whether it took effect is not known then, and each is safe to repeat.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from base.ids import CallId, ConnectionId
from signaling.call.record import Call
from signaling.ports import StoredCall


class Refused(Exception):
    """The archive cannot take these calls as they are; trying again changes nothing by itself."""


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """An ended call that nobody has recorded yet; `since_at` is Unix ms on the store's clock."""

    call_id: CallId
    since_at: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Some of the waiting calls, oldest first, beside how many there are in all at `now_ms`, the store's time."""

    calls: Sequence[WaitingCall]
    total: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of calls that were waiting; those that another recorder took meanwhile are in none of these."""

    calls: Sequence[StoredCall]
    lost: Sequence[CallId]
    """Their records are gone: the store lost them."""
    unreadable: Sequence[CallId]
    """Their records are of a form that this release does not know."""


class EndedCalls(Protocol):
    """The list of ended calls that wait for the recorder."""

    async def waiting(self, *, passing_over: Collection[CallId]) -> Waiting:
        """A bounded share of what waits, without the calls to be passed over (they count in `total`)."""
        ...

    async def load(self, call_ids: Sequence[CallId]) -> Loaded: ...

    async def release(self, recorded: Sequence[StoredCall]) -> int:
        """Takes those off the list whose content is still the recorded one; answers how many.

        Their records stay readable for a while.
        """
        ...

    async def forget(self, lost: Sequence[CallId]) -> None:
        """Takes those off the list that have no record any more."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many calls were new to the archive, and how many it knew in an earlier version.

    `news`: connections that were made by it, and of which nobody has told the two yet.
    """

    new: int
    updated: int
    news: tuple[ConnectionId, ...] = ()


class CallArchive(Protocol):
    """Where calls are kept for good."""

    async def record(self, calls: Sequence[Call], *, apart: Collection[CallId] = ()) -> Recorded:
        """Writes all of them or none; a call that is known in this version or a later one is left alone.

        The connections that were made in them are written with them, but for those whose two a block keeps apart: one
        that the archive knows, or that of a call in `apart`.

        Raises:
            Refused: at least one of them cannot be stored.
        """
        ...


class RecordedConnections(Protocol):
    """What there is to know, and to tell, of the connections that were made in recorded calls."""

    async def apart(self, calls: Sequence[Call]) -> Collection[CallId]:
        """Those of the calls that made a connection, and whose two a block keeps apart by now."""
        ...

    async def tell(self, connection_ids: Sequence[ConnectionId]) -> None:
        """Tells the two of each connection that it is there. Raises nothing: what fails is told later."""
        ...


class Kept(StrEnum):
    """What is kept for a time, and then deleted."""

    SIGN_INS = "sign_ins"
    CONSENT_LOGS = "consent_logs"
    ENDED_CONNECTIONS = "ended_connections"
    CALLS = "calls"
    FEEDBACK = "feedback"
    REPORTS = "reports"
    REMOVED_BLOCKS = "removed_blocks"
    AUDIT_LOG = "audit_log"


class Expired(Protocol):
    """Where something runs out."""

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Deletes at most `limit` of what has run out by `now_ms` (Unix ms); how many went, 0 when nothing is left."""
        ...


class TurnUnavailable(Exception):
    """A TURN server's admin interface does not answer, refuses us, or does not do what it was asked to."""


class TurnAdmin(Protocol):
    """One TURN server."""

    @property
    def name(self) -> str:
        """Which one, for logs and metrics."""
        ...

    async def end_allocations(self, call_ids: Sequence[CallId]) -> int:
        """Ends whatever these calls still hold there; answers how many allocations that were.

        Raises: TurnUnavailable, and then some of them may be left.
        """
        ...


@dataclass(frozen=True, slots=True)
class Visit:
    """A time at which a call's allocations have to be ended; `due_at` is Unix ms on the store's clock."""

    call_id: CallId
    due_at: int


@dataclass(frozen=True, slots=True)
class Visits:
    """Some of what is due, the longest overdue first, at `now_ms`, the store's time."""

    due: Sequence[Visit]
    now_ms: int


class TurnVisits(Protocol):
    """The visits to the TURN servers that calls left behind when their media was over."""

    async def take(self, *, limit: int, lease_ms: int) -> Visits:
        """What is due; for the length of the lease nobody else takes it, after that it is due again."""
        ...

    async def done(self, visits: Sequence[Visit]) -> None:
        """Takes them off the list."""
        ...

    async def postpone(self, visits: Mapping[Visit, int]) -> None:
        """Makes each due again at that Unix ms."""
        ...
