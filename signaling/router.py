"""Where a message for one seat of a call goes: to a session on this node, or over the bus to another.

Refuses to know why. Nothing here awaits: a relay between two sockets of one node touches no Redis.
"""

from collections.abc import Mapping
from typing import Any

from base.ids import NodeId, SessionId
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.node_frames import NodeFrame, encode_frame
from signaling.ports import Bus


class Router:
    """Finds the way to sessions, near and far."""

    def __init__(self, node_id: NodeId, hub: Hub, bus: Bus) -> None:
        self.node_id = node_id
        """This process as others know it; another one after a lapsed lease."""
        self._hub = hub
        self._bus = bus

    def here(self, node_id: NodeId, session_id: SessionId) -> LiveSession | None:
        """The session, where it lives on this node."""
        return self._hub.session(session_id) if node_id == self.node_id else None

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
