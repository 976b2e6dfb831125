"""How a hub leaves, so that nobody notices more than a reconnect.

Not ready first, then nobody new, then everybody is sent elsewhere; the process stays until the sessions that it had have
been fetched by the nodes that its people went to, and until every socket has had its closing handshake. What ends before
that resets connections: a close frame that nobody has read yet is lost with them.
"""

import asyncio
from typing import Final

from base.errors import Unavailable
from minuet.supervisor.lifeline import Post
from minuet.wiring.listening import Server
from minuet.wiring.node import Node
from signaling.draining import Draining

MOVED_PER_S: Final = 500
MOVING_LEAST_S: Final = 0.5
MOVING_MOST_S: Final = 12.0
"""How quickly sessions are sent to the other hubs: no quicker than those can take them, within what orchestrators wait."""

HANDOVER_S: Final = 3.0
"""The last come back within a second, and their sessions are fetched from here then."""

ALONE_S: Final = 2.0
"""Where none does only running commands are waited for."""

LATECOMERS_S: Final = 1.0
"""Who was accepted a moment ago has not asked for anything yet."""

CLOSING_S: Final = 6.0
_LOOK_S: Final = 0.02
_ASK_S: Final = 1.0


class Leaving:
    """The end of one hub; with a `post`, others go on accepting on its listening socket."""

    def __init__(self, node: Node, draining: Draining, server: Server, post: Post | None) -> None:
        self._node = node
        self._draining = draining
        self._server = server
        self._post = post

    async def leave(self, notice_s: float) -> None:
        """Returns when the process can end; `notice_s` is for how long balancers are given to notice."""
        self._node.is_leaving = True
        loop = asyncio.get_running_loop()
        if self._post is None:
            await asyncio.sleep(notice_s)
        else:
            # No notice: whoever knocks next is let in by others. That includes doors minded for them.
            await self._server.stop_accepting()
            self._post.leave()
        latecomers_until = loop.time() + (LATECOMERS_S if self._post is not None else 0.0)
        if await self._others_live():
            moving_s = min(MOVING_MOST_S, max(MOVING_LEAST_S, len(self._node.hub) / MOVED_PER_S))
            await self._draining.drain(HANDOVER_S, over_s=moving_s)
        else:
            await self._draining.drain(ALONE_S)
        deadline = loop.time() + CLOSING_S
        while loop.time() < latecomers_until or (  # noqa: ASYNC110  else each socket would need somebody to tell
            self._node.sockets.open and loop.time() < deadline
        ):
            await asyncio.sleep(_LOOK_S)

    async def _others_live(self) -> bool:
        try:
            async with asyncio.timeout(_ASK_S):
                nodes = await self._node.stores.nodes.nodes()
        except (Unavailable, TimeoutError):
            return False
        own = self._node.lease.node_id
        return any(node.role in ("hub", "all-in-one") and node.node_id != own for node in nodes)
