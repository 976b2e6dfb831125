"""A node: the part of a process that has a lease, an inbox, and hands in calls.

Hubs have sessions on top; a worker has none, and fires what dead nodes left.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.directory import Directory
from accounts.keys import KeyRing
from accounts.tokens import Authenticator, TokenScope
from base.ids import DeviceId, NodeId, SessionId, UserId
from matchmaker.lobby import Lobby
from matchmaker.metrics import MatchmakerMetrics
from minuet.settings import require
from minuet.wiring.foundation import Foundation
from presence.metrics import BusMetrics, PresenceMetrics
from presence.node_lease import NodeLease
from presence.nodes import NodeStats, UserState
from presence.registry import Registry
from safety.metrics import SafetyMetrics
from safety.service import Safety
from signaling.aftermath import Aftermath
from signaling.arrivals import Arrivals
from signaling.authentication import Authentication
from signaling.calls import CallService
from signaling.control import Control
from signaling.dispatch.call import CallCommands
from signaling.dispatch.dispatcher import IceServersCommand, MessageDispatcher
from signaling.dispatch.queue import QueueCommands
from signaling.dispatch.safety import SafetyCommands
from signaling.hub import Hub
from signaling.inbox import Inbox
from signaling.local_call import LocalCalls
from signaling.metrics import CallMetrics, LiveCollector, SessionMetrics
from signaling.protocol.messages.call import IceServer
from signaling.relays import Relays
from signaling.router import Router
from signaling.session.limits import SessionLimits
from signaling.sessions import SessionPolicy, Sessions
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.safety import PostgresSafety
from storage.redis.activities import RedisActivities
from storage.redis.bus import RedisBus
from storage.redis.calls import RedisCallStore
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from storage.redis.queues import RedisQueues
from storage.redis.revocations import RedisRevocations
from storage.redis.safety import RedisSafetyLog


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
        calls=RedisCallStore(redis, keys),
        revocations=RedisRevocations(redis, keys, access_s=foundation.settings.access_token_s),
        accounts=PostgresAccounts(foundation.database),
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """Keys and names of access tokens."""

    ring: KeyRing
    scope: TokenScope


def open_tokens(foundation: Foundation) -> Tokens:
    """Raises: InvalidSettings without a secret."""
    settings = foundation.settings
    require(settings, "auth_secret")
    return Tokens(
        KeyRing.parse(str(settings.auth_secret)), TokenScope(settings.auth_issuer, settings.auth_audience)
    )


class Node:
    """The parts of a node, put together; `run` keeps them going."""

    def __init__(
        self, foundation: Foundation, stores: Stores, tokens: Tokens, limits: SessionLimits | None = None
    ) -> None:
        settings, clock, ids, registry = (
            foundation.settings,
            foundation.clock,
            foundation.ids,
            foundation.registry,
        )
        self.clock = clock
        self.stores = stores
        self.authenticator = Authenticator(tokens.ring, tokens.scope)
        self.presence_metrics = PresenceMetrics(registry)
        self.matchmaker_metrics = MatchmakerMetrics(registry)
        session_metrics = SessionMetrics(registry)
        call_metrics = CallMetrics(registry)
        ice_servers = [IceServer(urls=[url]) for url in settings.stun_urls]

        self.bus = RedisBus(foundation.redis, foundation.keys, clock, BusMetrics(registry))
        self.hub = Hub(clock, session_metrics)
        self.lease = NodeLease(
            stores.nodes, foundation.role, clock, ids.new, self._stats, self.presence_metrics
        )
        self.router = Router(self.lease.node_id, self.hub, self.bus)
        self.lobby = Lobby(
            stores.queues,
            stores.activities,
            stores.calls,
            ids,
            settings.intents,
            self.matchmaker_metrics,
        )
        self.local = LocalCalls(clock)
        aftermath = Aftermath(self.hub, self.router, self.lobby, clock, ice_servers)
        self.calls = CallService(stores.calls, self.local, self.router, aftermath, clock, call_metrics)
        relays = Relays(self.local, self.router, clock, call_metrics, self.calls)
        self.calls.expire_offers = relays.expire
        authentication = Authentication(self.authenticator, stores.revocations, clock)
        self.safety = Safety(
            RedisSafetyLog(foundation.redis, foundation.keys),
            PostgresSafety(foundation.database),
            ids.new,
            SafetyMetrics(registry),
        )
        self.commands = CallCommands(self.calls, self.local, ids)
        dispatcher = MessageDispatcher(
            relays,
            QueueCommands(
                self.lobby, self.calls, Directory(stores.accounts, clock.wall_ms), self.router, clock
            ),
            self.commands,
            SafetyCommands(self.safety, self.calls, clock),
            authentication,
            IceServersCommand(self.calls, ice_servers),
        )
        self.sessions = Sessions(
            self.hub,
            self.router,
            SessionPolicy(limits or SessionLimits(), tuple(settings.intents), settings.strict_messages),
            dispatcher,
            session_metrics,
            authentication=authentication,
            registry=Registry(
                RedisSessions(foundation.redis, foundation.keys),
                stores.nodes,
                restore_blocks=self.safety.restore_blocks,
            ),
            lobby=self.lobby,
            calls=self.calls,
            clock=clock,
            ids=ids,
            random=foundation.random,
        )
        arrivals = Arrivals(self.hub, self.router, self.calls, self.lobby, settings.intents, clock)
        self._inbox = Inbox(arrivals, self.calls, self.local, relays, self.sessions)
        self._control = Control(self.hub, stores.revocations)
        self._listening: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self.lease.on_incarnation(self._reincarnated)
        registry.register(LiveCollector(_NodeCounts(self.hub, self.local)))

    async def run(self, ready: asyncio.Event) -> None:
        """Serves until cancelled; sets `ready` once the lease is held and the inbox is open."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.bus.run())
            tasks.create_task(self.lease.run())
            await self.lease.acquired()
            self._listen(self.lease.node_id)
            for work in (self.sessions.run(), self.calls.run(), self._control.watch(), self.safety.run()):
                tasks.create_task(work)
            ready.set()

    async def lost(self, user_id: UserId, device_id: DeviceId, session_id: SessionId) -> None:
        """A session died with its node: its call waits for the device. Raises: Unavailable."""
        del device_id  # the call's record knows it
        await self.calls.lost(user_id, session_id, await self.stores.activities.read(user_id))

    def _listen(self, node_id: NodeId) -> None:
        if self._listening is not None:
            self._listening.cancel()
        if self._tasks is not None:
            self._listening = self._tasks.create_task(self.bus.listen(node_id, self._inbox.receive))

    async def _reincarnated(self, old: NodeId, new: NodeId) -> None:
        del old
        self.router.node_id = new
        self._listen(new)
        await self.sessions.reassert_all()

    def _stats(self) -> NodeStats:
        counts: Mapping[str, int] = Counter(self.hub.count_by_state())
        return NodeStats(
            users={state: counts.get(state.value, 0) for state in UserState},
            calls=self.local.count_by_state(),
        )


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
