"""Where a message for one seat of a call goes: to a session on this node, or over the bus to another.

Refuses to know why. Nothing here awaits: a relay between two sockets of one node touches no Redis.
"""

from collections.abc import Callable, Mapping
from typing import Any

from base.ids import NodeId, SessionId
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.node_frames import NodeFrame, encode_frame
from signaling.ports import Bus


class Router:
    """Finds the way to sessions, near and far."""

    def __init__(self, node_id: NodeId, hub: Hub, bus: Bus) -> None:
        self._node_id = node_id
        self._incarnations = {node_id}
        self._hub = hub
        self._bus = bus
        self._arrived: set[SessionId] = set()
        self._catch: Callable[[SessionId, NodeFrame], bool] = lambda _session, _frame: False

    @property
    def node_id(self) -> NodeId:
        """This process as others know it; another one after a lapsed lease."""
        return self._node_id

    @node_id.setter
    def node_id(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._incarnations.add(node_id)

    def is_this(self, node_id: NodeId) -> bool:
        """Whether that is this process, as it is known or as it was known before."""
        return node_id in self._incarnations

    def here(self, node_id: NodeId, session_id: SessionId) -> LiveSession | None:
        """The session, where it lives on this node; records name for a moment the node that it came from, or as what
        this process was known before."""
        if node_id in self._incarnations or session_id in self._arrived:
            return self._hub.session(session_id)
        return None

    def welcome(self, session_id: SessionId) -> None:
        """The session has come here from another node, which records may still name."""
        self._arrived.add(session_id)

    def settled(self, session_id: SessionId) -> None:
        """No record names the node any more that the session came from."""
        self._arrived.discard(session_id)

    def catch_strays(self, catch: Callable[[SessionId, NodeFrame], bool]) -> None:
        """Has `catch` take frames for sessions that should be here and are not; it says whether it did."""
        self._catch = catch

    def stray(self, session_id: SessionId, frame: NodeFrame) -> bool:
        """Takes a frame for a session that should be here and is not: one that is on its way, or has left for another node.

        False where nobody knows of it.
        """
        return self._catch(session_id, frame)

    def tell(self, session_id: SessionId, type_: str, data: Mapping[str, Any] | None) -> bool:
        """Sends a reliable message to a session of this node; False where there is none."""
        live = self._hub.session(session_id)
        if live is None or live.is_over:
            return False
        live.push_raw(type_, data)
        return True

    def forward(self, node_id: NodeId, frame: NodeFrame) -> None:
        """Sends a frame to another node."""
        self._bus.publish(node_id, encode_frame(frame))
