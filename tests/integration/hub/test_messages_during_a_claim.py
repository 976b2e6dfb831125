"""A session's row names its next node before that node knows: what is sent there by the row must not be lost.

Two hubs in one process over a real store, and a bus that delivers in the next turn of the loop.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from accounts.model import Identity, Role
from base.clock import ServerClock, SystemClock
from base.ids import DeviceId, NodeId, SessionId, UserId
from base.policy import Gender
from chat.metrics import ChatMetrics
from presence.registry import Registry
from presence.sessions import Registration
from signaling.courier import Courier
from signaling.handover import Handovers
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.metrics import HandoverMetrics, SessionMetrics
from signaling.moved import MovedSession
from signaling.node_frames import SessionGone, SessionState, SessionsTold, SessionWanted, decode_frame
from signaling.protocol.codec import JSON
from signaling.protocol.messages.chat import ConnectionEnded
from signaling.resuming import Claim, Found, Outcome, Resuming
from signaling.router import Router
from signaling.session.handover import PATIENCE_MS
from signaling.session.limits import SessionLimits
from signaling.session.session import Session
from signaling.session_shell import SessionShell
from signaling.standstill import Standstill
from signaling.watches import Watches
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.presence import RedisSessions
from tests.unit.signaling.hub.live_scene import Services

SESSION, DEVICE, USER = SessionId("session"), DeviceId("phone"), UserId("she")


class Slow(Registry):
    """Whose answers come after whatever the test lets happen in between."""

    between: Callable[[], Awaitable[None]] | None = None

    async def reassert(
        self, registration: Registration, generation: int, *, blocks_later: bool = False
    ) -> int | None:
        answer = await super().reassert(registration, generation, blocks_later=blocks_later)
        if self.between is not None:
            await self.between()
        return answer


class Nodes:
    """Both live."""

    async def living(self) -> set[NodeId]:
        return {NodeId("node-1"), NodeId("node-2")}


class House:
    """One hub, as far as sessions move."""

    def __init__(self, name: str, redis: Any, houses: "dict[str, House]") -> None:
        self.houses = houses
        houses[name] = self
        self.clock = ServerClock(SystemClock())
        collector = CollectorRegistry()
        metrics = SessionMetrics(collector)
        self.hub = Hub(self.clock, metrics)
        self.router = Router(NodeId(name), self.hub, self)
        self.registry = Slow(RedisSessions(redis, Keys()), Nodes())  # type: ignore[arg-type]  # plays the nodes that live
        watches = Watches(self.hub, None, None, ChatMetrics(collector))  # type: ignore[arg-type]  # nobody watches
        # Nobody is in a call.
        self.handovers = Handovers(
            self.hub,
            self.router,
            self.clock,
            None,  # type: ignore[arg-type]  # nobody is in a call
            watches=watches,
            metrics=HandoverMetrics(collector),
        )
        self.handovers.receive = self.receive
        self.courier = Courier(self.registry, self.hub, self.router, ChatMetrics(CollectorRegistry()))
        self.resuming = Resuming(self.hub, self.router, self.registry, self.handovers)
        services = Services()
        self.shell = SessionShell(
            self.clock,
            SessionLimits(),
            services,
            services,
            metrics,
            False,
            Standstill(self.clock.monotonic_ms, metrics),
        )

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.houses[node_id].receive, frame)

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        raise AssertionError("frames arrive by themselves")

    def receive(self, payload: bytes) -> None:
        match decode_frame(payload):
            case SessionWanted() as frame:
                self.handovers.wanted(frame)
            case SessionState() as frame:
                self.handovers.arrived(frame)
            case SessionGone() as frame:
                self.handovers.refused(frame)
            case SessionsTold() as frame:
                self.courier.arrived(frame)
            case frame:
                raise AssertionError(frame)

    def session(self, identity: Identity, generation: int) -> LiveSession:
        session = Session(SESSION, JSON, SessionLimits(), self.clock.monotonic_ms())
        live = LiveSession(self.shell, session, identity, DEVICE, generation)
        live._early = None  # it has been greeted
        self.hub.add(live)
        return live

    def land(self, identity: Identity) -> Callable[[MovedSession, int], LiveSession]:
        def land(moved: MovedSession, generation: int) -> LiveSession:
            live = self.session(identity, generation)
            live.go_on(moved)
            return live

        return land


@dataclass
class Move:
    """A session on the first of two hubs, whose device comes to the second."""

    first: House
    second: House
    identity: Identity

    def coming(self) -> "asyncio.Task[Found | Outcome]":
        claim = Claim(self.identity, SESSION, DEVICE, lambda: False)
        return asyncio.create_task(self.second.resuming.bring(claim, self.second.land(self.identity)))

    async def is_in_step(self) -> bool:
        """Whether the session is where its row says, under the row's generation."""
        row, live = await self.second.registry.where(USER, DEVICE), self.second.hub.session(SESSION)
        return row is not None and live is not None and row.generation == live.generation


@pytest.fixture
async def move(redis_url: str) -> AsyncIterator[Move]:
    redis = connect(redis_url)
    houses: dict[str, House] = {}
    first, second = House("node-1", redis, houses), House("node-2", redis, houses)
    now_ms = first.clock.now_ms()
    identity = Identity(USER, Role.USER, Gender.FEMALE, "family", now_ms, now_ms + 900_000)
    registered = await first.registry.register(
        Registration(USER, DEVICE, SESSION, first.router.node_id, now_ms)
    )
    first.session(identity, registered.generation)
    async with asyncio.timeout(10):
        yield Move(first, second, identity)
    await redis.aclose()


@pytest.mark.parametrize("by_way_of", ["node-1", "node-2"])
async def test_a_message_that_follows_the_row_before_its_node_knows_arrives(
    move: Move, by_way_of: str
) -> None:
    """The store has the new row, and its answer is still on the way; then comes what was sent by the new row."""

    async def told() -> None:
        row = await move.first.registry.where(USER, DEVICE)
        assert row is not None
        assert row.node_id == "node-2"
        await move.first.houses[by_way_of].courier.tell(USER, ConnectionEnded(connection_id="ended"))
        # Until it is there.
        await asyncio.sleep(0.05)

    move.second.registry.between = told
    found = await move.coming()

    assert isinstance(found, Found)
    assert found.outcome is Outcome.ELSEWHERE
    assert [frame for frame in found.live.session.outbox.waiting() if b"ended" in frame]


async def test_a_session_that_lands_while_its_client_comes_again_is_the_one_of_both(move: Move) -> None:
    """The second socket has set the row anew when the session comes that the first one asked for."""
    is_on_its_way = asyncio.Event()
    held: list[bytes] = []
    receive = move.first.receive

    def hold(frame: bytes) -> None:
        held.append(frame)
        is_on_its_way.set()

    move.first.receive = hold  # type: ignore[assignment,method-assign]  # holds what comes
    earlier = move.coming()
    await is_on_its_way.wait()

    async def landed() -> None:
        receive(held.pop())
        await earlier

    move.second.registry.between = landed
    later = await move.coming()

    assert isinstance(later, Found)
    assert await move.is_in_step()
    assert not move.second.handovers.knows_of(SESSION)


async def test_a_claim_that_is_still_being_answered_is_not_taken_for_a_session_that_is_gone(
    move: Move,
) -> None:
    """The row names this node already: whoever comes again in that moment must not be given another session."""
    is_claimed, may_go_on = asyncio.Event(), asyncio.Event()

    async def answered_late() -> None:
        is_claimed.set()
        await may_go_on.wait()

    move.second.registry.between = answered_late
    earlier = move.coming()
    await is_claimed.wait()
    later = await move.coming()
    may_go_on.set()

    assert later is Outcome.NEWER
    assert isinstance(await earlier, Found)
    assert await move.is_in_step()


async def test_a_node_that_stood_still_itself_hears_what_it_was_answered_meanwhile(move: Move) -> None:
    """Its patience is over when it goes on; but the session is there to be read, and the other node was quick."""
    loop = asyncio.get_running_loop()
    stalls = [PATIENCE_MS / 1000 + 0.2]

    def publish(node_id: NodeId, frame: bytes) -> None:
        if stalls:
            # What an interrupted process does, or one of a machine that has too much else to do.
            time.sleep(stalls.pop())
        # Out of the socket, and through whoever reads it.
        loop.call_later(0.05, move.second.receive, frame)

    move.first.publish = publish  # type: ignore[method-assign]  # says when it arrives
    found = await move.coming()

    assert isinstance(found, Found)
    assert found.outcome is Outcome.ELSEWHERE
    assert await move.is_in_step()
