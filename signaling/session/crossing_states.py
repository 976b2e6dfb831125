"""Where a session's move from node to node stands, as one of the nodes sees it; see `signaling.session.handover`."""

from collections import deque
from dataclasses import dataclass, field

from base.ids import NodeId
from signaling.node_frames import SessionWanted


@dataclass(slots=True)
class Taking:
    """The row is ours, the session is not here yet."""

    asked: int
    """The generation that the holder answers."""
    generation: int
    """The one of the row, which rises when the client comes a second time."""
    holder: NodeId
    asked_at: int
    pieces: list[bytes] = field(default_factory=list)
    held: deque[bytes] = field(default_factory=deque)
    held_bytes: int = 0
    is_whole: bool = True
    next_holder: NodeId | None = None
    """Who had the row when the client came again, other than this node."""
    goes_on: SessionWanted | None = None


@dataclass(slots=True)
class Giving:
    """The session is here and somebody with a newer row wants it."""

    wanted: SessionWanted
    since: int


@dataclass(slots=True)
class Given:
    """The session was here."""

    node_id: NodeId
    generation: int
    at: int
    pieces: tuple[bytes, ...]


@dataclass(slots=True)
class Missed:
    """The session was to come here, and another node was quicker: it has the session, or knows who has."""

    node_id: NodeId
    at: int


State = Taking | Giving | Given | Missed
