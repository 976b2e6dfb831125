"""What presence needs from outside; `storage` fits these.

Every method may raise `Unavailable`: nothing is known to have changed, and the same call may be made again.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from base.ids import DeviceId, NodeId, UserId
from presence.continuity import Mark
from presence.nodes import Incarnation, NodeInfo, NodeStats, Renewal
from presence.sessions import DevicesFull, LostSession, Reasserted, Registered, Registration, SessionRow


class LeaseStore(Protocol):
    """Leases of node incarnations, and who is on them."""

    async def acquire(self, node: Incarnation, stats: NodeStats) -> Renewal:
        """Takes the lease of a new incarnation; not held if its id is known already."""
        ...

    async def renew(self, node: Incarnation, stats: NodeStats) -> Renewal:
        """Makes the lease last for another 4 s and sends the node's inbox a canary; not held if it had ended."""
        ...

    async def release(self, node_id: NodeId) -> None:
        """Ends the lease at once. What is left of the incarnation is for the reaper."""
        ...

    async def marks(self) -> list[Mark]:
        """What each part of the store says of itself; parts that do not answer are left out. Raises nothing."""
        ...

    async def ask_to_hold_back(self, for_ms: int) -> None:
        """Lets whoever comes to the store for the first time know that something was lost, for so long. Raises nothing."""
        ...

    async def living(self) -> set[NodeId]:
        """The incarnations whose leases are current."""
        ...

    async def nodes(self) -> list[NodeInfo]:
        """The living incarnations, oldest first."""
        ...


class DeadNodeStore(Protocol):
    """What the reaper does about incarnations whose leases have ended."""

    async def dead(self) -> list[NodeId]:
        """Listed incarnations that have no lease any more."""
        ...

    async def listed_sessions(self, node_id: NodeId, *, limit: int) -> list[LostSession]: ...

    async def reap(self, node_id: NodeId, session: LostSession) -> bool:
        """Removes the session's row if it still names this incarnation.

        Returns:
            Whether the session is lost: false when its device has another session by now.
        """
        ...

    async def unlist(self, node_id: NodeId, sessions: Sequence[LostSession]) -> None:
        """Takes sessions off the incarnation's list."""
        ...

    async def forget(self, node_id: NodeId) -> bool:
        """Drops the incarnation itself if nobody is on its list; whether it did."""
        ...


class SessionStore(Protocol):
    """The rows of users' sessions, one for each device."""

    async def register(
        self, registration: Registration, *, max_devices: int, ignored_nodes: Sequence[NodeId] = ()
    ) -> Registered | DevicesFull:
        """Writes the device's row with a generation above all before.

        Rows that name one of `ignored_nodes` do not count towards `max_devices`.

        Raises:
            TokenRevoked: its sign-in was ended, or the user signed out everywhere, or was banned, after it was issued.
            BegunAnew: the row that it was to take over from does not stand there any more.
        """
        ...

    async def reassert(self, registration: Registration, generation: int) -> Reasserted | None:
        """Moves the session's row to another incarnation of its node, or writes it again where it was lost.

        The generation rises each time. None when the device has another session by now.

        Raises:
            TokenRevoked: as for `register`.
        """
        ...

    async def unregister(self, registration: Registration, generation: int) -> bool:
        """Removes the row if it is still of this session and generation; whether it did."""
        ...

    async def note_away(self, registration: Registration, generation: int, away: bool) -> bool:
        """Notes on the row, if it is still of this session and generation, whether its user is away; whether it did."""
        ...

    async def sessions(self, user_id: UserId) -> list[SessionRow]: ...

    async def where(self, user_id: UserId, device_id: DeviceId) -> SessionRow | None: ...


class Nodes(Protocol):
    """Who lives, for those who only ask."""

    async def living(self) -> set[NodeId]: ...

    async def nodes(self) -> list[NodeInfo]: ...


class PoolDepths(Protocol):
    """How many tickets wait."""

    async def depths(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """By intent, side and state (`waiting`, `paused`, `matched`)."""
        ...


class CallCounts(Protocol):
    """How many calls there are."""

    async def count_by_state(self) -> Mapping[str, int]: ...
