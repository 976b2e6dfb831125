"""A change of a call reaches the peer's node though the message that says so is lost, or whoever sent it is dead.

Nodes over one real store, with a bus between them that loses what the test wants lost.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from base.ids import CallId, NodeId, UserId
from base.policy import IntentPolicy
from jobs.sweep import Sweep
from signaling.call import events
from signaling.call.states import SEATS, State
from signaling.node_frames import CallCommitted, CallHeard, NodeFrame, decode_frame, encode_frame
from storage.redis.keys import Keys, call_partition
from tests.fixtures.waiting import until
from tests.integration.hub.town import HeldBus, Node, Town

SHE, HE = UserId("she"), UserId("he")


class LossyBus(HeldBus):
    """Delivers at once, but what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[NodeId, Callable[[bytes], None]] = {}
        self.loses: Callable[[NodeId, NodeFrame], bool] = lambda _node, _frame: False
        self.sent: list[tuple[NodeId, NodeFrame]] = []

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        read = decode_frame(frame)
        self.sent.append((node_id, read))
        if not self.loses(node_id, read) and node_id in self.nodes:
            asyncio.get_running_loop().call_soon(self.nodes[node_id], frame)

    def committed(self, node_id: NodeId) -> list[CallCommitted]:
        return [frame for to, frame in self.sent if to == node_id and isinstance(frame, CallCommitted)]


class Place(Town):
    """A live call, each side on a node of its own, and a worker without sessions."""

    bus: LossyBus
    serving: dict[NodeId, asyncio.Task[None]]

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.bus = bus = LossyBus()
        self.hers, self.his = Node("node-1", "a", self.redis, bus), Node("node-2", "b", self.redis, bus)
        self.worker = Node("node-3", "b", self.redis, bus)
        bus.nodes = {node.id: node.receive for node in (self.hers, self.his)}
        bus.nodes[self.worker.id] = self.worker.calls.telling.receive

    async def deliver(self, *kinds: type[NodeFrame]) -> None:
        await asyncio.sleep(0.02)

    @property
    def key(self) -> str:
        return Keys().calls_untold(call_partition(self.call_id))

    async def untold(self) -> int:
        return int(await self.redis.zcard(self.key))

    async def he_comes_to_her_node(self) -> None:
        call = self.call_at(self.hers)
        his = call.view.b
        await self.hers.calls.decide(
            call, events.SeatAttached("b", his.session_id, self.hers.id, his.device_id)
        )

    async def until(self, holds: Callable[[], Any]) -> None:
        await until(holds)

    async def until_all_is_told(self) -> None:
        async def none() -> bool:
            return await self.untold() == 0

        await self.until(none)


@pytest.fixture
async def place(redis_url: str) -> AsyncIterator[Place]:
    built = Place(redis_url)
    built.serving = {
        node.id: asyncio.create_task(node.calls.run()) for node in (built.hers, built.his, built.worker)
    }
    await asyncio.sleep(0)
    await built.connecting_call(IntentPolicy())
    await built.go_live()
    await built.hers.calls.act(built.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
    await built.until_all_is_told()
    built.forget()
    built.bus.sent.clear()
    yield built
    for task in built.serving.values():
        task.cancel()
    await asyncio.gather(*built.serving.values(), return_exceptions=True)
    await built.redis.aclose()


def his_news(node_id: NodeId, frame: NodeFrame) -> bool:
    return node_id == "node-2" and isinstance(frame, CallCommitted)


def his_first_news(node_id: NodeId, frame: NodeFrame) -> bool:
    return node_id == "node-2" and isinstance(frame, CallCommitted) and not frame.again


async def test_a_change_that_arrives_is_told_once_and_taken_off_the_list(place: Place) -> None:
    """His node acknowledges, hers clears the list, and nothing is said again."""
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    await place.until_all_is_told()
    await asyncio.sleep(1.3)

    assert not any(frame.again for frame in place.bus.committed(place.his.id))
    assert len(place.his.person.of("video.revoked")) == 1


async def test_a_revocation_reaches_him_though_its_message_is_lost(place: Place) -> None:
    """A second later it is told again with the record, and he hears what he would have heard in time."""
    began = asyncio.get_running_loop().time()
    place.bus.loses = his_news
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    assert await place.untold() == 1

    place.bus.loses = his_first_news
    await place.until(lambda: place.his.person.of("video.revoked"))

    assert asyncio.get_running_loop().time() - began > 0.5
    assert place.his.person.of("call.state")[-1]["video_allowed"] == {"a": False, "b": False}
    assert place.his.person.of("video.revoked") == [
        {"call_id": place.call_id, "video_allowed": {"a": False, "b": False}}
    ]
    assert not place.call_at(place.his).allowance("b").send_video
    await place.until_all_is_told()


async def test_what_is_told_between_two_lost_messages_is_not_forgotten(place: Place) -> None:
    """Revoked, then asked for: only the second message arrives, and he hears of the first by the record."""
    place.bus.loses = his_first_news
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    place.bus.loses = lambda _node, _frame: False
    await place.hers.calls.act(place.call_id, SHE, events.ExtensionRequested)
    await place.until(lambda: place.his.person.of("call.extend_requested", "call.extend.requested"))

    assert len(place.his.person.of("video.revoked")) == 1
    await place.until_all_is_told()


async def test_what_comes_late_is_not_told_twice(place: Place) -> None:
    """The message was only slow: its change is known from the next one by then."""
    held: list[bytes] = []

    def hold(node_id: NodeId, frame: NodeFrame) -> bool:
        if his_first_news(node_id, frame) and not held:
            held.append(encode_frame(frame))
            return True
        return False

    place.bus.loses = hold
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    await place.hers.calls.act(place.call_id, SHE, events.ExtensionRequested)
    await place.deliver()
    place.his.receive(held[0])
    await place.until_all_is_told()

    assert len(place.his.person.of("video.revoked")) == 1


async def test_a_worker_tells_what_a_dead_node_left_untold(place: Place) -> None:
    """She revoked, her node died with the message; a sweep finds it on the list and tells him."""
    began = asyncio.get_running_loop().time()
    place.bus.loses = his_news
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    await place.deliver()
    place.serving[place.hers.id].cancel()
    del place.bus.nodes[place.hers.id]
    place.bus.sent.clear()
    place.bus.loses = his_first_news
    sweeping = asyncio.create_task(
        Sweep(place.worker.store, place.worker.calls, place.worker.calls.telling).run()
    )

    await place.until(lambda: place.his.person.of("video.revoked"))
    sweeping.cancel()

    assert asyncio.get_running_loop().time() - began > 0.5
    again = [frame for frame in place.bus.committed(place.his.id) if frame.again]
    assert {frame.sender for frame in again} == {place.worker.id}
    await place.until_all_is_told()


async def test_a_node_that_says_nothing_is_told_ever_more_rarely(place: Place) -> None:
    """It is gone, and its list is bounded; for those that live nothing waits behind it."""
    place.bus.loses = lambda node_id, _frame: node_id == place.his.id
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    await asyncio.sleep(3.4)

    assert 1 <= len([frame for frame in place.bus.committed(place.his.id) if frame.again]) <= 3
    assert await place.untold() > 0


async def test_a_seat_that_has_moved_needs_to_be_told_no_more(place: Place) -> None:
    """His device is on another node by now, which came with the record: the old one has nobody to tell."""
    place.bus.loses = his_first_news
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)
    await place.he_comes_to_her_node()

    await place.until_all_is_told()
    assert [frame for frame in place.bus.committed(place.his.id) if frame.again] == []


async def test_two_on_one_node_leave_nothing_to_be_told(place: Place) -> None:
    """Nothing is put on the list, and nothing is taken off it: no command more than before."""
    await place.he_comes_to_her_node()
    await place.until_all_is_told()
    asked: list[Any] = []
    told, place.hers.store.told = (
        place.hers.store.told,
        lambda changes: asked.append(changes) or told(changes),
    )
    await place.hers.calls.act(place.call_id, SHE, events.VideoRevoked)

    assert await place.untold() == 0
    await asyncio.sleep(0.3)
    assert asked == []
    assert not any(isinstance(frame, CallHeard) for _, frame in place.bus.sent[-2:])


async def test_the_end_of_a_call_is_told_again_too(place: Place) -> None:
    """He hears `call.ended`, with its reason, though the first message was lost."""
    place.bus.loses = his_first_news
    await place.hers.calls.act(place.call_id, SHE, events.Blocked)

    await place.until(lambda: place.his.person.of("call.ended"))

    [ended] = place.his.person.of("call.ended")
    assert (ended["reason"], ended["requeued"]) == ("hangup", False)
    assert place.call_at(place.his).view.state is State.ENDED
    assert all(place.call_at(place.his).view.seat(seat).freed for seat in SEATS)
    await place.until_all_is_told()


async def test_a_call_that_is_gone_is_told_to_nobody(place: Place) -> None:
    """Ended, recorded, and its record has expired: the sweep clears what was left."""
    call_id = CallId(place.call_id[:-2] + f"{(int(place.call_id[-2:], 16) + 1) % 256:02x}")
    key = Keys().calls_untold(call_partition(call_id))
    now_ms = place.worker.clock.now_ms()
    await place.redis.zadd(key, {f"{call_id} 3 {now_ms - 5_000} node-2": now_ms - 4_000})
    await place.redis.zadd(key, {"what a newer release wrote": now_ms - 4_000})

    assert await place.worker.calls.telling.sweep(10) == 1

    async def cleared() -> bool:
        return bool(await place.redis.zrange(key, 0, -1) == [b"what a newer release wrote"])

    await place.until(cleared)
    assert place.bus.committed(place.his.id) == []
