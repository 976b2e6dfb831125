"""One node with a call in which she has allowed video, over a real store that the test can cut off."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from base.clock import ServerClock, SystemClock
from base.errors import Unavailable
from base.ids import CallId, IdFactory, NodeId, UserId
from base.policy import Gender, IntentPolicy
from matchmaker.lobby import Lobby
from matchmaker.matches import Match
from matchmaker.metrics import MatchmakerMetrics
from signaling.aftermath import Aftermath
from signaling.call import events
from signaling.call.record import Call
from signaling.calls import CallService
from signaling.hub import Hub
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics, SessionMetrics
from signaling.ports import StoredCall
from signaling.router import Router
from signaling.turn import IceServers
from storage.redis.activities import RedisActivities
from storage.redis.calls import RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.integration.hub.town import seat_at

NODE = NodeId("node-1")
SHE, HE = UserId("she"), UserId("he")


class Interruptible(RedisCallStore):
    """The real store, which the test can cut off."""

    away = False
    slow: asyncio.Event | None = None

    async def commit(self, before: StoredCall, call: Call, **more: Any) -> StoredCall | None:
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise Unavailable
        return await super().commit(before, call, **more)


class NoBus:
    """One node only: nothing leaves it."""

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        raise AssertionError("there is no other node")

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        raise AssertionError("nobody listens")


class House:
    """A call service over the real store."""

    def __init__(self, redis_url: str) -> None:
        self.redis = connect(redis_url, timeout_s=10)
        keys, clock = Keys(), ServerClock(SystemClock())
        self.ids = IdFactory(clock.now_ms, secrets.token_bytes)
        registry = CollectorRegistry()
        self.store = Interruptible(self.redis, keys)
        hub = Hub(clock, SessionMetrics(registry))
        self.router = router = Router(NODE, hub, NoBus())
        lobby = Lobby(
            RedisQueues(self.redis, keys),
            RedisActivities(self.redis, keys),
            self.store,
            self.ids,
            {},
            MatchmakerMetrics(registry),
        )
        self.local = LocalCalls(clock)
        self.aftermath = aftermath = Aftermath(hub, router, lobby, clock, IceServers())
        self.metrics = CallMetrics(registry)
        self.calls = CallService(self.store, self.local, router, aftermath, clock, self.metrics)
        self.clock = clock

    async def live_call(self, policy: IntentPolicy | None = None) -> LocalCall:
        """Both talk, and she has allowed video both ways."""
        match = Match(
            call_id=CallId(self.ids.new()),
            intent="dating",
            claimed_at_ms=self.clock.now_ms(),
            a=seat_at(NODE, SHE, Gender.FEMALE),
            b=seat_at(NODE, HE, Gender.MALE),
        )
        call = await self.calls.open(match, policy or IntentPolicy())
        assert call is not None
        for event in (
            events.Accepted("a"),
            events.Accepted("b"),
            events.MediaConnected("a", answer_relayed=True),
            events.MediaConnected("b", answer_relayed=True),
            events.VideoApproved("a", "both"),
        ):
            await self.calls.decide(call, event)
        assert call.view.a.video_allowed
        return call


@asynccontextmanager
async def opened_house(redis_url: str) -> AsyncIterator[House]:
    """Its calls are looked after until the block ends."""
    house = House(redis_url)
    serving = asyncio.create_task(house.calls.run())
    await asyncio.sleep(0)
    yield house
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await house.redis.aclose()
