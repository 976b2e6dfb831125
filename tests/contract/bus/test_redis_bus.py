"""Frames from node to node over the real server: what arrives, in which order, and what a gap looks like."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.ids import IdFactory, NodeId
from presence.metrics import BusMetrics
from presence.nodes import Incarnation, NodeStats
from signaling.ports import Gap
from storage.redis.bus import RedisBus
from storage.redis.bus_frames import Batch
from storage.redis.bus_limits import BusLimits
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes

KEYS = Keys("test:")
CLOCK = ServerClock(SystemClock())
NO_CANARY = BusLimits(needs_canary=False)
WAIT_S = 15.0


class Peer:
    """A bus of its own, as each node has one, with what it counts and hears."""

    def __init__(self, redis: Redis, limits: BusLimits = NO_CANARY) -> None:
        self.registry = CollectorRegistry()
        self.bus = RedisBus(redis, KEYS, CLOCK, BusMetrics(self.registry), limits)
        self.node_id = NodeId(IdFactory(CLOCK.now_ms, os.urandom).new())
        self.frames: list[bytes] = []
        self.gaps: list[Gap] = []
        self._arrived = asyncio.Event()
        self.bus.on_gap(self.gaps.append)

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)
        self._arrived.set()

    async def has(self, count: int) -> list[bytes]:
        """The frames, once there are so many."""
        async with asyncio.timeout(WAIT_S):
            while len(self.frames) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.frames

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Peer"]:
        """Runs the bus and listens."""
        async with asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(self.bus.run()),
                tasks.create_task(self.bus.listen(self.node_id, self.receive)),
            ]
            async with asyncio.timeout(WAIT_S):
                await self.bus.subscribed(self.node_id)
            yield self
            for task in started:
                task.cancel()


async def publish(redis: Redis, node_id: NodeId, payload: bytes) -> None:
    """What another process would put into a node's inbox."""
    command = "SPUBLISH" if isinstance(redis, ClusterRedis) else "PUBLISH"
    await redis.execute_command(command, KEYS.node_inbox(node_id), payload)


@pytest.fixture
async def ann(redis: Redis) -> AsyncIterator[Peer]:
    async with Peer(redis).running() as peer:
        yield peer


@pytest.fixture
async def bob(redis: Redis) -> AsyncIterator[Peer]:
    async with Peer(redis).running() as peer:
        yield peer


def numbered(count: int) -> list[bytes]:
    return [f"frame {number}".encode() for number in range(count)]


async def test_frames_arrive_once_and_in_order(ann: Peer, bob: Peer) -> None:
    """Over many turns of the event loop, with frames the other way meanwhile."""
    for number, frame in enumerate(numbered(500)):
        ann.bus.publish(bob.node_id, frame)
        bob.bus.publish(ann.node_id, frame)
        if number % 7 == 0:
            await asyncio.sleep(0)

    assert await bob.has(500) == numbered(500)
    assert await ann.has(500) == numbered(500)
    assert bob.gaps == ann.gaps == []


async def test_frames_of_one_turn_leave_as_one_publication_for_each_node(
    ann: Peer, bob: Peer, redis: Redis
) -> None:
    """A hundred frames to two nodes are two publications."""
    async with Peer(redis).running() as eve:
        for frame in numbered(50):
            ann.bus.publish(bob.node_id, frame)
            ann.bus.publish(eve.node_id, frame)
        await bob.has(50)
        await eve.has(50)

        assert ann.counted("minuet_bus_batches_total", direction="out") == 2
        assert ann.counted("minuet_bus_frames_total", direction="out") == 100
        assert bob.counted("minuet_bus_batches_total", direction="in") == 1
        assert bob.frames == eve.frames == numbered(50)


async def test_publishing_awaits_nothing(redis: Redis) -> None:
    """It may be called before there is any connection; the frames leave once there is one."""
    sender = Peer(redis)
    async with Peer(redis).running() as receiver:
        for frame in numbered(3):
            sender.bus.publish(receiver.node_id, frame)
        await asyncio.sleep(0.05)
        nothing_yet = list(receiver.frames)
        async with sender.running():
            arrived = await receiver.has(3)

    assert nothing_yet == []
    assert arrived == numbered(3)
    assert receiver.gaps == []


async def test_what_was_published_last_still_leaves_when_the_bus_is_stopped(bob: Peer, redis: Redis) -> None:
    """A node that shuts down says so to the others."""
    async with Peer(redis).running() as sender:
        # The way to another node's inbox may be opened later than that to one's own: once this is heard, it is open.
        sender.bus.publish(bob.node_id, b"hello")
        await bob.has(1)
        sender.bus.publish(bob.node_id, b"good-bye")

    assert await bob.has(2) == [b"hello", b"good-bye"]


async def test_a_node_hears_only_what_is_for_it(ann: Peer, bob: Peer) -> None:
    """And itself, when it writes to itself."""
    ann.bus.publish(ann.node_id, b"for ann")
    ann.bus.publish(NodeId("somebody else"), b"for nobody")
    ann.bus.publish(bob.node_id, b"for bob")

    assert await bob.has(1) == [b"for bob"]
    assert await ann.has(1) == [b"for ann"]
    assert ann.counted("minuet_bus_unheard_total") == 1


async def test_large_frames_are_split_into_publications_of_bounded_size(bob: Peer, redis: Redis) -> None:
    """A megabyte leaves in several pieces, in order and without a gap."""
    limits = BusLimits(needs_canary=False, batch_bytes=10_000)
    frames = [bytes([number]) * 4_000 for number in range(100)]
    async with Peer(redis, limits).running() as sender:
        for frame in frames:
            sender.bus.publish(bob.node_id, frame)

        assert await bob.has(100) == frames
        assert bob.gaps == []
        assert sender.counted("minuet_bus_batches_total", direction="out") == 50


async def test_megabytes_at_once_arrive(bob: Peer, redis: Redis) -> None:
    """More than the socket takes: the rest waits until it drains, in order."""
    limits = BusLimits(needs_canary=False, waiting_bytes=64 << 20)
    async with Peer(redis, limits).running() as sender:
        for turn in range(40):
            for number in range(20):
                sender.bus.publish(bob.node_id, bytes([turn, number]) * 10_000)
            await asyncio.sleep(0)
        frames = await bob.has(800)

    assert frames == [bytes([turn, number]) * 10_000 for turn in range(40) for number in range(20)]
    assert bob.gaps == []


@pytest.mark.parametrize(
    "limits",
    [
        BusLimits(needs_canary=False, waiting_frames=10),
        BusLimits(needs_canary=False, waiting_bytes=len(b"frame 90") * 10),
    ],
    ids=["frames", "bytes"],
)
async def test_what_waits_is_bounded_and_the_oldest_is_dropped(
    bob: Peer, redis: Redis, limits: BusLimits
) -> None:
    """Without a connection memory does not grow; the receiver learns how many frames it missed."""
    sender = Peer(redis, limits)
    for frame in numbered(100):
        sender.bus.publish(bob.node_id, frame)
    async with sender.running():
        frames = await bob.has(10)

    assert frames == numbered(100)[-10:]
    assert sender.counted("minuet_bus_dropped_total", reason="overflow") == 90
    assert [(gap.node_id, gap.missed) for gap in bob.gaps] == [(bob.node_id, 90)]
    assert bob.counted("minuet_bus_missed_total") == 90


async def test_a_lost_publication_is_noticed_with_the_next(ann: Peer, bob: Peer, redis: Redis) -> None:
    """The numbers of a sender's frames to a node have no holes but those that are losses.

    This one is of a release that cannot be asked: nothing waits for what it lost.
    """
    for first, frames in [(1, [b"a", b"b"]), (5, [b"e"]), (6, [b"f"])]:
        await publish(redis, bob.node_id, msgspec.msgpack.encode(Batch("sender", first, frames)))

    assert await bob.has(4) == [b"a", b"b", b"e", b"f"]
    assert bob.gaps == [Gap(bob.node_id, None, 2)]


async def test_a_sender_that_begins_anew_is_no_gap(bob: Peer, redis: Redis) -> None:
    """It has forgotten us for a while, and counts from one again."""
    for first, frames in [(1, [b"a", b"b"]), (1, [b"c"]), (2, [b"d"])]:
        await publish(redis, bob.node_id, msgspec.msgpack.encode(Batch("sender", first, frames)))

    assert await bob.has(4) == [b"a", b"b", b"c", b"d"]
    assert bob.gaps == []


async def test_batches_of_a_newer_release_are_read(bob: Peer, redis: Redis) -> None:
    """It may have appended something that we do not know."""
    await publish(
        redis,
        bob.node_id,
        msgspec.msgpack.encode(["sender", 1, [b"frame"], bob.node_id, 1, {"new": True}, 7]),
    )

    assert await bob.has(1) == [b"frame"]


async def test_rubbish_in_an_inbox_disturbs_nobody(ann: Peer, bob: Peer, redis: Redis) -> None:
    """It is counted and passed over."""
    for rubbish in [b"", b"\xc1", b"hello", msgspec.msgpack.encode({"a": 1}), b"~"]:
        await publish(redis, bob.node_id, rubbish)
    ann.bus.publish(bob.node_id, b"frame")

    assert await bob.has(1) == [b"frame"]
    assert bob.counted("minuet_bus_dropped_total", reason="undecodable") == 5
    assert bob.bus.is_connected


async def test_a_receiver_that_raises_loses_only_that_frame(ann: Peer, bob: Peer, redis: Redis) -> None:
    """One bad frame must not take the others of its publication, nor the connection, with it."""

    class Picky(Peer):
        def receive(self, frame: bytes) -> None:
            if frame == b"bad":
                raise ValueError("cannot be handled")
            super().receive(frame)

    async with Picky(redis).running() as picky:
        for frame in [b"first", b"bad", b"last"]:
            ann.bus.publish(picky.node_id, frame)

        assert await picky.has(2) == [b"first", b"last"]
        assert picky.bus.is_connected


async def test_listening_twice_for_a_node_is_refused(bob: Peer) -> None:
    """Frames would go to one of the two only."""
    with pytest.raises(ValueError, match="already"):
        await bob.bus.listen(bob.node_id, bob.receive)


async def test_listening_can_move_to_another_incarnation(ann: Peer, bob: Peer) -> None:
    """After a lapse the node has another inbox; the old one is left, and with it what was on its way there."""
    heard: list[bytes] = []
    arrived = asyncio.Event()

    def receive(frame: bytes) -> None:
        heard.append(frame)
        arrived.set()

    old, new = NodeId("old incarnation"), NodeId("new incarnation")
    listening = asyncio.create_task(bob.bus.listen(old, receive))
    await bob.bus.subscribed(old)
    listening.cancel()
    await asyncio.wait({listening})
    listening = asyncio.create_task(bob.bus.listen(new, receive))
    await bob.bus.subscribed(new)
    ann.bus.publish(old, b"too late")
    ann.bus.publish(new, b"in time")
    async with asyncio.timeout(WAIT_S):
        await arrived.wait()
    listening.cancel()

    assert heard == [b"in time"]
    assert bob.gaps == [Gap(new)]


async def test_listening_may_end_and_begin_again_in_one_turn(ann: Peer, bob: Peer, redis: Redis) -> None:
    """Whoever is cancelled leaves before whoever comes after it subscribes."""
    node_id = NodeId(f"{bob.node_id} again")
    first = asyncio.create_task(bob.bus.listen(node_id, bob.receive))
    await bob.bus.subscribed(node_id)
    first.cancel()
    second = asyncio.create_task(bob.bus.listen(node_id, bob.receive))
    await asyncio.sleep(0.05)
    await bob.bus.subscribed(node_id)
    ann.bus.publish(node_id, b"frame")

    assert await bob.has(1) == [b"frame"]
    assert first.cancelled()
    second.cancel()


async def test_a_sender_forgets_nodes_that_it_wrote_to_long_ago(
    ann: Peer, bob: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes come and go; memory stays, and those who are still there notice nothing."""
    monkeypatch.setattr("storage.redis.bus_outgoing.MOST_LANES", 3)
    for number in range(10):
        ann.bus.publish(NodeId(f"gone {number}"), b"frame")
        ann.bus.publish(bob.node_id, b"%d" % number)
        await asyncio.sleep(0)

    assert await bob.has(10) == [b"%d" % number for number in range(10)]
    assert bob.gaps == []
    assert len(ann.bus._outgoing) == 3


async def test_the_lag_of_canaries_is_measured(bob: Peer, redis: Redis) -> None:
    """Each renewal of the node's lease comes back through the inbox, and never as a frame."""
    await RedisNodes(redis, KEYS).acquire(Incarnation(bob.node_id, "serve", 1), NodeStats())
    async with asyncio.timeout(WAIT_S):
        while not bob.counted("minuet_bus_lag_seconds_count"):
            await asyncio.sleep(0.01)

    assert bob.counted("minuet_bus_lag_seconds_sum") < WAIT_S
    assert bob.frames == []


async def test_the_transport_is_taken_over_from_the_client_library(ann: Peer) -> None:
    """`open_link` leans on a private name of redis-py; an upgrade that changes it must fail here, not in production."""
    link = ann.bus._route(KEYS.node_inbox(ann.node_id).encode())

    assert link is not None
    assert link._connection._writer.transport is link._transport
    assert link._transport is not None
    assert link._transport.get_protocol() is link


def test_a_batch_never_begins_like_a_canary() -> None:
    """The two share a channel and are told apart by their first byte."""
    firsts: set[bytes] = set()
    encode: Callable[[Batch], bytes] = msgspec.msgpack.encode
    for count in (0, 1, 15, 16, 70_000):
        firsts.add(encode(Batch("s", 1, [b""] * count))[:1])

    assert b"~" not in firsts
