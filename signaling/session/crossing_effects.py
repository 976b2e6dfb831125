"""What a session's move from node to node asks of the node that takes part in it; see `signaling.session.handover`.

Imperatives, done by whoever has sockets, a store and a bus.
"""

from dataclasses import dataclass
from enum import StrEnum

from base.ids import NodeId
from signaling.node_frames import NodeFrame


class Refusal(StrEnum):
    """Why a session is not given, or did not come."""

    NEWER = "newer"
    """Somebody else wants it, who asked the store later."""
    SUPERSEDED = "superseded"
    """The device has begun another session."""
    GONE = "gone"
    BUSY = "busy"
    """One of its commands did not come to an end."""
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Send:
    """Tell another node."""

    node_id: NodeId
    frame: NodeFrame


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take the session's socket: no new commands from now on."""


@dataclass(frozen=True, slots=True)
class Give:
    """Take the session out of this node and say `given` with all there is of it."""


@dataclass(frozen=True, slots=True)
class Land:
    """The session is here, whole; it goes on under `generation`. Then comes what was held for it."""

    generation: int
    state: bytes
    held: tuple[bytes, ...]
    complete: bool
    """False where more was to be held than there is room for."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The session does not come; whoever waits here for it begins a new one, or leaves where somebody newer has it."""

    reason: Refusal


Effect = Send | Freeze | Give | Land | GiveUp
