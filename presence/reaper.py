"""Clears up after nodes that died: their sessions are lost, and somebody has to be told.

Changes only rows that name the dead incarnation. Nodes that could not renew their leases because the store was away are
given time to come back, and so are all when the store has lost something. Several workers may reap at once; whoever is told of a lost session
may be told twice.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.metrics import PresenceMetrics
from presence.ports import DeadNodeStore
from presence.sessions import LostSession

log = structlog.get_logger(__name__)

EVERY_S = 1.0
BATCH = 200
GRACE_S = 3.0
"""After the store was away, nodes look for it again within a second, and then have their sessions to register."""

OnSessionLost = Callable[[UserId, DeviceId, SessionId], Awaitable[None]]
"""Told of each session that died with its node; must be safe to repeat."""


class Reaper:
    """Looks for dead nodes each second."""

    def __init__(
        self,
        store: DeadNodeStore,
        on_session_lost: OnSessionLost,
        metrics: PresenceMetrics,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`settled` returns when nothing is being put back that the store has lost."""
        self._store = store
        self._on_session_lost = on_session_lost
        self._metrics = metrics
        self._settled = settled
        self._seen: set[NodeId] = set()

    async def run(self) -> None:
        """Reaps until cancelled."""
        was_away = False
        while True:
            try:
                if was_away:
                    # It answers again: whoever lives says so before anybody is buried.
                    await self._store.dead()
                    await asyncio.sleep(GRACE_S)
                    was_away = False
                if self._settled is not None:
                    await self._settled()
                await self.reap_all()
            except Unavailable as error:
                if not was_away:
                    log.warning("reaper.waits", error=str(error))
                was_away = True
            except Exception:
                # Broad: one bug must not leave the dead unburied for ever.
                log.exception("reaper.failed")
            await asyncio.sleep(EVERY_S)

    async def reap_all(self) -> int:
        """One round over all dead nodes, a bounded batch of each; answers with how many sessions were lost.

        Raises:
            Unavailable: the store is away.
        """
        dead = await self._store.dead()
        self._seen.intersection_update(dead)
        lost = 0
        for node_id in dead:
            if node_id not in self._seen:
                self._seen.add(node_id)
                log.warning("reaper.node_gone", node_id=node_id)
            lost += await self.reap(node_id)
        return lost

    async def reap(self, node_id: NodeId) -> int:
        """A batch of one dead node's sessions; answers with how many of them were lost.

        Raises:
            Unavailable: the store is away.
        """
        sessions = await self._store.listed_sessions(node_id, limit=BATCH)
        lost = 0
        done = []
        try:
            for session in sessions:
                if await self._store.reap(node_id, session):
                    if not await self._tell(session):
                        continue
                    lost += 1
                # Off the list only once somebody was told: a worker that dies here leaves it to another.
                done.append(session)
        finally:
            await self._store.unlist(node_id, done)
            self._metrics.sessions_reaped.inc(lost)
        if len(sessions) < BATCH:
            await self._store.forget(node_id)
        return lost

    async def _tell(self, session: LostSession) -> bool:
        try:
            await self._on_session_lost(session.user_id, session.device_id, session.session_id)
        except Unavailable:
            raise
        except Exception:
            # Broad: one session that cannot be dealt with must not keep the others; it stays on the list.
            log.exception("reaper.session_stays", session_id=session.session_id)
            return False
        return True
