"""A matchmaker on a real Valkey; calls, nodes and announcements are played by the test."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import SystemClock
from base.ids import CallId, DeviceId, IdFactory, NodeId, SessionId, UserId
from base.policy import Control, Gender, IntentPolicy, default_intents
from matchmaker.lobby import Joined, JoinRequest, Lobby
from matchmaker.matches import Match
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.ports import CallOutcome, CallStage
from matchmaker.ticket import Preferences
from matchmaker.worker import run_matchmaker
from matchmaker.worker_ports import WorkerPorts
from storage.redis.activities import RedisActivities
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.fixtures.waiting import WAIT_S, until
from tests.unit.matchmaker.people import Somebody

NODE = NodeId("node-1")
ANN, BOB = UserId("ann"), UserId("bob")


@dataclass
class PlayedCalls:
    """Calls as the test says they are; any other is absent."""

    outcomes: dict[CallId, CallOutcome] = field(default_factory=dict)

    async def stage(self, call_id: CallId) -> CallOutcome:
        return self.outcomes.get(call_id, CallOutcome(CallStage.ABSENT))

    def set(self, call_id: CallId, stage: CallStage, returns: str = "", declined: str = "") -> None:
        self.outcomes[call_id] = CallOutcome(stage, frozenset(returns), frozenset(declined))


@dataclass
class PlayedNodes:
    """Node incarnations as the test says they are."""

    alive: set[NodeId] = field(default_factory=lambda: {NODE})

    async def living(self) -> set[NodeId]:
        return set(self.alive)


@dataclass
class PlayedHealth:
    """Whether the store has lost something, as the test says."""

    restoring: bool = False
    looks: int = 0

    def restoring_ms(self) -> int:
        return 1_000 if self.restoring else 0

    async def look(self) -> None:
        self.looks += 1

    async def settled(self) -> None:
        while self.restoring:
            await asyncio.sleep(0.01)


@dataclass
class HeardMatches:
    """What both seats' nodes are told."""

    matches: list[Match] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def announce(self, match: Match) -> None:
        self.matches.append(match)
        self.heard.set()

    @property
    def different(self) -> list[Match]:
        """Each as it was announced first: until both nodes acknowledge it, it is announced again twice a second."""
        first: dict[CallId, Match] = {}
        for match in self.matches:
            first.setdefault(match.call_id, match)
        return list(first.values())

    async def next(self, count: int = 1, timeout_s: float = WAIT_S) -> list[Match]:
        """The different matches heard, once there are `count` of them."""
        async with asyncio.timeout(timeout_s):
            while len(self.different) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.different


@dataclass
class Scene:
    """All parts, with what a hub would do for its users."""

    redis: Redis
    keys: Keys
    queues: RedisQueues
    activities: RedisActivities
    lobby: Lobby
    calls: PlayedCalls
    nodes: PlayedNodes
    announcer: HeardMatches
    metrics: MatchmakerMetrics
    registry: CollectorRegistry
    policies: dict[str, IntentPolicy]
    ids: IdFactory
    health: PlayedHealth = field(default_factory=PlayedHealth)

    @classmethod
    def on(cls, redis: Redis) -> "Scene":
        keys, ids = Keys(), IdFactory(SystemClock().wall_ms, secrets.token_bytes)
        queues, activities, calls = RedisQueues(redis, keys), RedisActivities(redis, keys), PlayedCalls()
        registry = CollectorRegistry()
        metrics = MatchmakerMetrics(registry)
        # Among friends all is quick, so that no test waits for long: the tiers, and the end of a pause.
        hasty = IntentPolicy(control=Control.MUTUAL, widen_after_s=(0, 0.1, 0.2, 0.3), paused_s=1)
        policies = {**default_intents(), "friends": hasty}
        lobby = Lobby(queues, activities, calls, ids, policies, metrics)
        announcer, nodes = HeardMatches(), PlayedNodes()
        return cls(
            redis, keys, queues, activities, lobby, calls, nodes, announcer, metrics, registry, policies, ids
        )

    @property
    def worker_ports(self) -> WorkerPorts:
        return WorkerPorts(
            queues=self.queues,
            activities=self.activities,
            calls=self.calls,
            announcer=self.announcer,
            nodes=self.nodes,
            lobby=self.lobby,
            ids=self.ids,
            clock=SystemClock(),
            metrics=self.metrics,
            health=self.health,
        )

    async def join(
        self,
        name: str,
        *,
        intent: str = "friends",
        device: str = "phone",
        node: NodeId = NODE,
        person: Somebody | None = None,
        preferences: Preferences | None = None,
    ) -> Joined:
        return await self.lobby.join(
            JoinRequest(
                user_id=UserId(name),
                device_id=DeviceId(device),
                session_id=SessionId(f"session-{name}-{device}"),
                node_id=node,
                intent=intent,
                preferences=preferences or Preferences(),
                person=person or Somebody(first_name=name.title()),
            )
        )

    async def depth(self, intent: str = "friends") -> dict[str, int]:
        """How many tickets stand where, all sides together."""
        depths = await self.queues.depths(intent)
        total: dict[str, int] = {}
        for side in Gender:
            for state, count in depths[side].items():
                total[state.name.lower()] = total.get(state.name.lower(), 0) + count
        return total


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    """A matchmaker in this process owns the scene's pools, until the block ends."""
    task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))

    async def owned() -> bool:
        return all([await scene.redis.exists(scene.keys.pool_owner(pool)) for pool in scene.policies])

    try:
        await until(owned)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
