"""Tells users on all their devices, on whichever nodes those are.

Decides nothing about what is told. Where nobody can say where somebody's devices are, those of this node are told and
the caller hears of it: the others find out when they ask.
"""

import asyncio
from collections import defaultdict
from typing import Any, Final, Protocol

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import ConnectionId, NodeId, SessionId, UserId
from chat.metrics import ChatMetrics
from chat.model import Peer, Untold
from chat.ports import ConnectionStore
from presence.sessions import SessionRow
from signaling.hub import Hub
from signaling.node_frames import SessionsTold, WatchEnded
from signaling.protocol.messages.call import ConnectionMade, PeerView
from signaling.protocol.messages.family import ServerMessage
from signaling.router import Router

logger = structlog.get_logger(__name__)

LOOK_UP_TIMEOUT_S: Final = 1.0


class SessionRows(Protocol):
    """Where users' sessions are."""

    async def sessions(self, user_id: UserId) -> list[SessionRow]:
        """Also those of nodes that have just died: what is sent there is lost, and harms nobody. Raises: Unavailable."""
        ...


class Courier:
    """Brings messages to users."""

    def __init__(self, rows: SessionRows, hub: Hub, router: Router, metrics: ChatMetrics) -> None:
        self._rows = rows
        self._hub = hub
        self._router = router
        self._metrics = metrics

    async def tell(self, user_id: UserId, message: ServerMessage, *, but: SessionId | None = None) -> bool:
        """Tells all devices of a user but one; False where only those of this node could be told. Raises nothing."""
        data: dict[str, Any] = msgspec.to_builtins(message)
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                rows = await self._rows.sessions(user_id)
        except (Unavailable, TimeoutError):
            for live in self._hub.of_user(user_id):
                if live.id != but:
                    live.push_news(message.TYPE, data, reliable=message.RELIABLE)
            self._metrics.told.labels("here").inc()
            return False
        far: defaultdict[NodeId, list[str]] = defaultdict(list)
        for row in rows:
            if row.session_id == but:
                continue
            live_here = self._router.here(row.node_id, row.session_id)
            if live_here is not None:
                live_here.push_news(message.TYPE, data, reliable=message.RELIABLE)
            elif row.node_id != self._router.node_id:
                far[row.node_id].append(row.session_id)
            else:
                self._follow(row.session_id, SessionsTold([], message.TYPE, data, reliable=message.RELIABLE))
        for node_id, session_ids in far.items():
            self._router.forward(
                node_id, SessionsTold(session_ids, message.TYPE, data, reliable=message.RELIABLE)
            )
        self._metrics.told.labels("everywhere").inc()
        return True

    async def end_watches(self, connection_id: ConnectionId, *user_ids: UserId) -> None:
        """Has every node that may watch a connection forget it. Best effort: each looks again by itself."""
        nodes: set[NodeId] = set()
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                for user_id in user_ids:
                    nodes.update(row.node_id for row in await self._rows.sessions(user_id))
        except (Unavailable, TimeoutError):
            logger.info("other nodes find out by themselves that a connection is gone")
        for node_id in nodes - {self._router.node_id}:
            self._router.forward(node_id, WatchEnded(connection_id))

    def arrived(self, frame: SessionsTold) -> None:
        """Tells sessions of this node what another node sent them."""
        for session_id in frame.session_ids:
            live = self._hub.session(SessionId(session_id))
            if live is not None and not live.is_over:
                live.push_news(frame.type, frame.data, reliable=frame.reliable)
            elif live is None:
                self._follow(SessionId(session_id), frame)

    def _follow(self, session_id: SessionId, frame: SessionsTold) -> None:
        """Lets a message wait for a session that is on its way here, or go after one that has left."""
        self._router.stray(session_id, msgspec.structs.replace(frame, session_ids=[session_id]))


class ConnectionTeller:
    """Tells two people that they are connected, once the connection is written."""

    def __init__(self, connections: ConnectionStore, courier: Courier) -> None:
        self._connections = connections
        self._courier = courier

    async def tell(self, connection_ids: list[ConnectionId], now_ms: int) -> None:
        """Tells of those that have just been written. Raises nothing: what is not told here the sweep tells."""
        try:
            await self._tell(await self._connections.untold(connection_ids, now_ms))
        except Unavailable:
            logger.info("connections are told later", count=len(connection_ids))

    async def tell_due(self, now_ms: int, *, limit: int = 100) -> int:
        """Tells of those whose writer died before; of how many. Raises: Unavailable."""
        due = await self._connections.claim_untold(now_ms, limit=limit)
        await self._tell(due)
        return len(due)

    async def _tell(self, news: list[Untold]) -> None:
        told = []
        for one in news:
            # All of them are tried, whatever becomes of the first.
            everywhere = [
                await self._courier.tell(user_id, _made(one, peer)) for user_id, peer in one.peers.items()
            ]
            if all(everywhere):
                told.append(one)
        if told:
            await self._connections.told(told)


def peer_view(peer: Peer) -> PeerView:
    return PeerView(
        first_name=peer.first_name, age=peer.age, languages=list(peer.languages), verified=peer.verified
    )


def _made(news: Untold, peer: Peer) -> ConnectionMade:
    return ConnectionMade(call_id=news.call_id, connection_id=news.connection_id, peer=peer_view(peer))
