"""Two nodes over one real store, with a bus between them that delivers when the test says so."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from base.clock import ServerClock, SystemClock
from base.ids import CallId, DeviceId, IdFactory, NodeId, SessionId, TicketId, UserId
from base.policy import Gender, IntentPolicy
from matchmaker.lobby import Lobby
from matchmaker.matches import Match, MatchedSeat
from matchmaker.metrics import MatchmakerMetrics
from signaling.aftermath import Aftermath
from signaling.call import events
from signaling.call.states import SEATS, Seat
from signaling.calls import CallService
from signaling.candidates import RelayRange, RelayRanges
from signaling.early_relays import EarlyRelays
from signaling.hub import Hub
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics, SessionMetrics
from signaling.node_frames import CallCommitted, CallHeard, NodeFrame, Relayed, decode_frame, encode_frame
from signaling.protocol.messages import call as wire
from signaling.protocol.messages.family import ServerMessage
from signaling.relays import Relays
from signaling.router import Router
from signaling.seating import Seating
from signaling.turn import IceServers
from storage.redis.activities import RedisActivities
from storage.redis.calls import RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.fixtures.sdp import VOICE

RANGES = RelayRanges((RelayRange((ip_network("198.51.100.7/32"),)),))


class Listener:
    """What a session would be told, of a person whose socket is not part of the test."""

    is_over = False
    is_attached = True
    call_id: CallId | None = None
    ticket = None

    def __init__(self, user_id: str) -> None:
        self.user_id = UserId(user_id)
        self.device_id = DeviceId(f"{user_id}-phone")
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def enter_call(self, call_id: CallId) -> None:
        self.call_id = call_id

    def leave_call(self, call_id: CallId) -> None:
        if self.call_id == call_id:
            self.call_id = None

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        """What a hub does later for a session is looked at by whoever overrides this."""
        work.close()

    def push(self, message: ServerMessage) -> None:
        self.heard.append((message.TYPE, msgspec.to_builtins(message)))

    def push_all(self, messages: Sequence[ServerMessage]) -> None:
        for message in messages:
            self.push(message)

    def push_raw(self, type_: str, data: dict[str, Any]) -> None:
        self.heard.append((type_, data))

    def of(self, *types: str) -> list[dict[str, Any]]:
        """What it heard of these types, in order."""
        return [data for type_, data in self.heard if type_ in types]


class OneSession(Hub):
    """A hub with one person on it."""

    listener: Listener

    def session(self, session_id: SessionId) -> Any:
        return self.listener


class HeldBus:
    """Frames between the two nodes, in order, on their way until somebody delivers or loses them."""

    def __init__(self) -> None:
        self.way: deque[tuple[NodeId, NodeFrame]] = deque()

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        self.way.append((node_id, decode_frame(frame)))

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        raise AssertionError("the test delivers")


class Node:
    """One process with one of the two people."""

    def __init__(self, name: str, seat: Seat, redis: Any, bus: HeldBus) -> None:
        keys, clock = Keys(), ServerClock(SystemClock())
        registry = CollectorRegistry()
        self.id, self.seat, self.clock = NodeId(name), seat, clock
        self.store = RedisCallStore(redis, keys)
        hub = OneSession(clock, SessionMetrics(registry))
        # It plays a session.
        self.person: Any = Listener("she" if seat == "a" else "he")
        hub.listener = self.person
        self.router = router = Router(self.id, hub, bus)
        ids = IdFactory(clock.now_ms, secrets.token_bytes)
        lobby = Lobby(
            RedisQueues(redis, keys),
            RedisActivities(redis, keys),
            self.store,
            ids,
            {},
            MatchmakerMetrics(registry),
        )
        self.metrics = CallMetrics(registry)
        self.local = LocalCalls(clock)
        aftermath = Aftermath(hub, router, lobby, clock, IceServers())
        self.calls = CallService(self.store, self.local, router, aftermath, clock, self.metrics)
        self.seating = Seating(self.calls, self.local, router, aftermath, clock)
        self.relays = Relays(self.local, router, clock, self.metrics, self.calls.watch, RANGES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._early = EarlyRelays(self.calls, self.local, self.relays, self._run_soon)

    def _run_soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Until what arrived has been dealt with."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def receive(self, payload: bytes) -> None:
        """A frame of those that nodes exchange about a call."""
        match decode_frame(payload):
            case Relayed() as frame:
                self._early.arrived(frame)
            case CallCommitted() as frame:
                self.calls.committed(frame)
            case CallHeard() as frame:
                self.calls.telling.acknowledged(frame)
            case frame:
                raise AssertionError(f"not about a call: {frame}")

    def send(self, message: wire.CallOffer | wire.CallAnswer | wire.CallCandidates) -> None:
        """The person sends something to the other."""
        self.relays.relay(self.person, message)


class Town:
    """Both nodes, and the call of the two."""

    def __init__(self, redis_url: str) -> None:
        # A store that is slow for a moment is no store that is away.
        self.redis = connect(redis_url, timeout_s=10)
        self.bus = HeldBus()
        self.hers, self.his = (
            Node("node-1", "a", self.redis, self.bus),
            Node("node-2", "b", self.redis, self.bus),
        )
        self.call_id = CallId("")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Both nodes serve until the block ends; then their connections are closed."""
        serving = [asyncio.create_task(node.calls.run()) for node in (self.hers, self.his)]
        try:
            await asyncio.sleep(0)
            yield
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await self.redis.aclose()

    async def deliver(self, *kinds: type[NodeFrame]) -> None:
        """Lets arrive what is on its way, of these kinds or all; more may follow from it."""
        held: deque[tuple[NodeId, NodeFrame]] = deque()
        while self.bus.way:
            node_id, frame = self.bus.way.popleft()
            if kinds and not isinstance(frame, kinds):
                held.append((node_id, frame))
                continue
            node = self.hers if node_id == self.hers.id else self.his
            node.receive(encode_frame(frame))
            await node.settle()
        self.bus.way = held

    def matched(self) -> Match:
        """She and he, for a call that does not exist yet."""
        clock = self.hers.clock
        return Match(
            call_id=CallId(IdFactory(clock.now_ms, secrets.token_bytes).new()),
            intent="dating",
            claimed_at_ms=clock.now_ms(),
            a=seat_at(self.hers.id, "she", Gender.FEMALE),
            b=seat_at(self.his.id, "he", Gender.MALE),
        )

    async def connecting_call(self, policy: IntentPolicy) -> None:
        """Both have accepted; each node has its own view of the call, and both views are the same."""
        hers, his = self.hers, self.his
        match = self.matched()
        self.call_id = match.call_id
        call = await hers.calls.open(match, policy)
        assert call is not None
        assert await his.calls.open(match, policy) is not None
        for node in (hers, his):
            node.person.enter_call(match.call_id)
        for event in (events.Accepted("a"), events.Accepted("b")):
            await hers.calls.decide(call, event)
        await self.deliver()
        self.forget()

    async def go_live(self) -> None:
        """Both talk by voice."""
        await self.negotiate(1, VOICE)
        for seat in SEATS:
            call = self.call_at(self.hers)
            await self.hers.calls.decide(call, events.MediaConnected(seat, answer_relayed=True))
        await self.deliver()
        self.forget()

    async def allow_video(self) -> None:
        """She lets both send it; nobody has yet."""
        await self.hers.calls.decide(self.call_at(self.hers), events.VideoApproved("a", "both"))
        await self.deliver()
        self.forget()

    async def negotiate(self, number: int, sdp: str) -> None:
        """She offers, he answers, and both pass."""
        self.hers.send(self.offer(number, sdp))
        await self.deliver()
        self.his.send(self.answer(number, sdp))
        await self.deliver()

    def call_at(self, node: Node) -> LocalCall:
        call = node.local.get(self.call_id)
        assert call is not None
        return call

    def offer(self, number: int, sdp: str) -> wire.CallOffer:
        return wire.CallOffer(call_id=self.call_id, negotiation=number, sdp=sdp)

    def answer(self, number: int, sdp: str) -> wire.CallAnswer:
        return wire.CallAnswer(call_id=self.call_id, negotiation=number, sdp=sdp)

    def forget(self) -> None:
        self.hers.person.heard.clear()
        self.his.person.heard.clear()


def seat_at(node_id: NodeId, user_id: str, gender: Gender) -> MatchedSeat:
    """Somebody whose ids all say who it is."""
    return MatchedSeat(
        user_id=UserId(user_id),
        device_id=DeviceId(f"{user_id}-phone"),
        session_id=SessionId(f"{user_id}-session"),
        node_id=node_id,
        ticket_id=TicketId(f"{user_id}-ticket"),
        queued_at=0,
        gender=gender,
        first_name=user_id,
        age=30,
        languages=(),
        verified=False,
    )


@asynccontextmanager
async def opened_town(redis_url: str, policy: IntentPolicy, *, talking: bool = True) -> AsyncIterator[Town]:
    """Both nodes run, and their two are in a call: they talk by voice, or are about to connect."""
    town = Town(redis_url)
    async with town.running():
        await town.connecting_call(policy)
        if talking:
            await town.go_live()
        yield town
