"""The user's slot: the last word about who is in what, as the lobby asks for it and is answered."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from matchmaker.activity import Activity, InCall, Queued
from matchmaker.matches import SeatRef


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
