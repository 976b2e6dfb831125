"""A node: the part of a process that has a lease, a place on the bus, and a hand in calls.

A worker and a matchmaker are nodes without sessions; a hub has them on top, see `minuet.wiring.hub`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from matchmaker.lobby import Lobby
from matchmaker.metrics import MatchmakerMetrics
from minuet.turn import ice_servers, visits_after_ms
from minuet.wiring.foundation import Foundation
from minuet.wiring.own_inbox import OwnInbox
from presence.metrics import BusMetrics, PresenceMetrics
from presence.node_lease import NodeLease
from presence.nodes import NodeStats, UserState
from signaling.aftermath import Aftermath
from signaling.calls import CallService
from signaling.connection import Census
from signaling.hub import Hub
from signaling.local_call import LocalCalls
from signaling.metrics import CallMetrics, LiveCollector, SessionMetrics
from signaling.router import Router
from signaling.seating import Seating
from storage.postgres.accounts import PostgresAccounts
from storage.redis.activities import RedisActivities
from storage.redis.bus import RedisBus
from storage.redis.calls import RedisCallStore
from storage.redis.nodes import RedisNodes
from storage.redis.queues import RedisQueues
from storage.redis.revocations import RedisRevocations


@dataclass(frozen=True, slots=True)
class Stores:
    """The adapters that more than one part of a process uses."""

    nodes: RedisNodes
    queues: RedisQueues
    activities: RedisActivities
    calls: RedisCallStore
    revocations: RedisRevocations
    accounts: PostgresAccounts


def open_stores(foundation: Foundation) -> Stores:
    redis, keys = foundation.redis, foundation.keys
    return Stores(
        nodes=RedisNodes(redis, keys),
        queues=RedisQueues(redis, keys),
        activities=RedisActivities(redis, keys),
        calls=RedisCallStore(redis, keys, visits_after_ms=visits_after_ms(foundation.settings)),
        revocations=RedisRevocations(redis, keys, access_s=foundation.settings.access_token_s),
        accounts=PostgresAccounts(foundation.database),
    )


class Node:
    """The parts of a node, put together; `run` keeps them going.

    Whoever builds on it sets `receive` and `returned`, and adds to `services`, before it runs.
    """

    def __init__(self, foundation: Foundation, stores: Stores) -> None:
        settings, clock, registry = foundation.settings, foundation.clock, foundation.registry
        self.stores = stores
        self.presence_metrics = PresenceMetrics(registry)
        self.matchmaker_metrics = MatchmakerMetrics(registry)
        self.session_metrics = SessionMetrics(registry)
        self.call_metrics = CallMetrics(registry)
        stores.calls.unconfirmed = self.call_metrics.unconfirmed.inc
        self.ice = ice_servers(settings)
        self.bus = RedisBus(foundation.redis, foundation.keys, clock, BusMetrics(registry))
        self.hub = Hub(clock, self.session_metrics)
        self.lease = NodeLease(
            stores.nodes, foundation.role, clock, foundation.ids.new, self._stats, self.presence_metrics
        )
        self.router = Router(self.lease.node_id, self.hub, self.bus)
        self.lobby = Lobby(
            stores.queues,
            stores.activities,
            stores.calls,
            foundation.ids,
            settings.intents,
            self.matchmaker_metrics,
        )
        self.local = LocalCalls(clock, settings.intents)
        aftermath = Aftermath(self.hub, self.router, self.lobby, clock, self.ice)
        self.calls = CallService(stores.calls, self.local, self.router, aftermath, clock, self.call_metrics)
        self.seating = Seating(self.calls, self.local, self.router, aftermath, clock)
        self.receive: Callable[[bytes], None] = self.calls.telling.receive
        """Takes the frames that other processes send to this one; where there are no sessions, few mean anything."""
        self.returned: Callable[[], Awaitable[None]] = _nothing_to_do
        """Told when the process goes on as another incarnation; repeated while it raises."""
        self.services: list[Callable[[], Coroutine[Any, Any, None]]] = [self.calls.run]
        """What runs as long as the node does."""
        if foundation.replica is not None:
            self.services.append(foundation.replica.watch)
        self.sockets = Census()
        """The clients' sockets that are not gone yet."""
        self.is_leaving = False
        """Whether the process was told to end: nobody is to be sent here any more."""
        self._inbox: OwnInbox | None = None
        self.lease.on_incarnation(self._reincarnated)
        registry.register(LiveCollector(_NodeCounts(self.hub, self.local)))

    async def run(self, ready: asyncio.Event) -> None:
        """Serves until cancelled; sets `ready` once the lease is held and the inbox is open."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.bus.run())
            tasks.create_task(self.lease.run())
            await self.lease.acquired()
            self.router.node_id = self.lease.node_id
            self._inbox = OwnInbox(self.bus, self.receive, tasks.create_task)
            self._inbox.listen_as(self.lease.node_id)
            for service in self.services:
                tasks.create_task(service())
            ready.set()

    async def look_again(self) -> None:
        """Makes sure of the lease and of every session, after this process stood still. Raises: Unavailable."""
        before = self.lease.node_id
        await self.lease.look()
        if not self.lease.is_settled:
            raise Unavailable("the node has no lease")
        if self.lease.node_id == before and not self.lease.has_to_put_back:
            # As another incarnation, or after a loss, it has done so already.
            await self.returned()

    def take(self, node_id: NodeId, frame: bytes) -> bool:
        """Hands a frame for this very process to its inbox, as the bus would; False where it is another's."""
        if not self.router.is_this(node_id):
            return False
        asyncio.get_running_loop().call_soon(self.receive, frame)
        return True

    async def lost(self, user_id: UserId, device_id: DeviceId, session_id: SessionId) -> None:
        """A session died with its node: its call waits for the device. Raises: Unavailable."""
        del device_id  # the call's record knows it
        await self.seating.lost(user_id, session_id, await self.stores.activities.read(user_id))

    async def _reincarnated(self, old: NodeId, new: NodeId) -> None:
        del old
        self.router.node_id = new
        if self._inbox is not None:
            self._inbox.listen_as(new)
        if not self.lease.has_to_put_back:
            # What is done after a loss begins with that, and knows what else is missing.
            await self.returned()

    def _stats(self) -> NodeStats:
        counts: Mapping[str, int] = Counter(self.hub.count_by_state())
        return NodeStats(
            users={state: counts.get(state.value, 0) for state in UserState},
            calls=self.local.count_by_state(),
        )


async def _nothing_to_do() -> None:
    """A process without sessions has nothing to register again."""


class _NodeCounts:
    """What this node holds, for its gauges."""

    def __init__(self, hub: Hub, calls: LocalCalls) -> None:
        self._hub = hub
        self._calls = calls

    def connections(self) -> int:
        return sum(live.is_attached for live in self._hub)

    def unsent_bytes(self) -> int:
        return sum(live.unsent_bytes for live in self._hub)

    def sessions(self) -> Mapping[str, int]:
        return self._hub.count_by_state()

    def calls(self) -> Mapping[str, int]:
        return self._calls.count_by_state()
