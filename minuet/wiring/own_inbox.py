"""What this process hears: the frames for the node that it is at present, which may become another incarnation.

Decides that an inbox is opened once. Refuses to know what frames say.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from base.ids import NodeId
from signaling.ports import Bus


class OwnInbox:
    """Listens for one node at a time."""

    def __init__(
        self,
        bus: Bus,
        receive: Callable[[bytes], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
    ) -> None:
        self._bus = bus
        self._receive = receive
        self._spawn = spawn
        self._node_id: NodeId | None = None
        self._listening: asyncio.Task[None] | None = None

    def listen_as(self, node_id: NodeId) -> None:
        """Listens for this node from now on, and for the one before no more.

        Said again it changes nothing: an inbox that is opened anew has forgotten what it has heard, and asks for it again.
        """
        if node_id == self._node_id:
            return
        if self._listening is not None:
            self._listening.cancel()
        self._node_id = node_id
        self._listening = self._spawn(self._bus.listen(node_id, self._receive))
