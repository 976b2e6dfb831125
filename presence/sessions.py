"""Where a user's sessions are: the values that the user's slot holds and answers with."""

from dataclasses import dataclass

from base.ids import DeviceId, NodeId, SessionId, UserId

MAX_DEVICES = 3


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A device's session: on which node incarnation, under which generation.

    The generation rises with each registration; a write that names an older one does nothing.
    """

    device_id: DeviceId
    node_id: NodeId
    session_id: SessionId
    generation: int
    away: bool = False
    """Whether the user said on this device that they are away."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a node says of a session when it asks for the device's row."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    token_issued_at_ms: int
    token_family: str = ""
    """The sign-in that the token comes from, which may have been ended alone; empty where nobody knows."""
    instead_of: SessionRow | None = None
    """The row that a new session takes over from: where another stands there by now, it does not begin."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The device's row is ours."""

    generation: int
    superseded: SessionRow | None
    """The row that stood there before; its node closes that session, if the node lives."""
    activity: str
    """What the user is in: empty (idle), `queued:<pool>:<ticket>` or `call:<call>`."""
    activity_device: DeviceId | None
    blocks_known: bool
    """False where the store does not know the user's blocks: it is new to the user, or lost what it had."""
    was_away: bool = False
    """Whether the device's session before said that its user is away; this one does now."""


@dataclass(frozen=True, slots=True)
class Reasserted:
    """The device's row is ours again; `blocks_known` as in `Registered`."""

    generation: int
    blocks_known: bool
    superseded: SessionRow | None = None
    """An older session of the device, which put itself back before this one did; its node has to let go of it."""


@dataclass(frozen=True, slots=True)
class DevicesFull:
    """The device's row was not written: these other devices have one already."""

    rows: tuple[SessionRow, ...]


@dataclass(frozen=True, slots=True)
class LostSession:
    """A session on the list of a node incarnation, which may be gone."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
