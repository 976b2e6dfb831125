"""Frames between nodes over a real cluster: each inbox on the primary of its slot, and what moves is followed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from presence.nodes import Incarnation, NodeStats
from storage.redis.bus_limits import BusLimits
from storage.redis.client import connect
from storage.redis.nodes import RedisNodes
from storage.redis.slots import key_slot
from tests.fixtures.cluster import Cluster, ClusterNode
from tests.fixtures.waiting import until
from tests.integration.bus.buses import KEYS, Node

WAIT_S = 30.0


def node(url: str, limits: BusLimits | None = None) -> Node:
    return Node(connect(url, cluster=True), limits)


class Stream:
    """Ann writes to bob, a frame every few milliseconds, as long as the block runs."""

    def __init__(self, ann: Node, bob: Node) -> None:
        self._ann, self._bob = ann, bob
        self.sent: list[bytes] = []

    async def write(self) -> None:
        while True:
            self.sent.append(b"%d" % len(self.sent))
            self._ann.bus.publish(self._bob.node_id, self.sent[-1])
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator["Stream"]:
        writing = asyncio.create_task(self.write())
        try:
            yield self
        finally:
            writing.cancel()


async def all_has_arrived(stream: Stream, bob: Node) -> None:
    await until(lambda: len(bob.frames) >= len(stream.sent), WAIT_S)

    assert bob.frames == stream.sent
    assert [gap for gap in bob.gaps if gap.missed or gap.sender] == []
    assert bob.counted("missed_total") == 0


@pytest.fixture
async def nodes(cluster_url: str) -> AsyncIterator[list[Node]]:
    """Enough that every primary has an inbox of theirs, as good as certainly."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node(cluster_url).running()) for _ in range(6)]


async def test_everybody_reaches_everybody_whichever_primary_has_their_inbox(
    nodes: list[Node], valkey_cluster: Cluster
) -> None:
    """Also themselves; in order, each once, and by shards' channels, which no other primary hears of."""
    for number in range(50):
        for sender in nodes:
            for receiver in nodes:
                sender.bus.publish(receiver.node_id, f"{sender.node_id} {number}".encode())
        await asyncio.sleep(0)
    for receiver in nodes:
        await until(lambda receiver=receiver: len(receiver.frames) >= 50 * len(nodes), WAIT_S)
    plain = [await valkey_cluster.ask(primary, "PUBSUB", "CHANNELS") for primary in valkey_cluster.nodes]

    for receiver in nodes:
        for sender in nodes:
            heard = [frame for frame in receiver.frames if frame.startswith(sender.node_id.encode())]
            assert heard == [f"{sender.node_id} {number}".encode() for number in range(50)]
        assert receiver.gaps == []
    assert sum(map(len, plain)) == 0


async def test_canaries_arrive_where_the_inbox_is(cluster_url: str) -> None:
    """The lease's script publishes them on the shard, so that the connection there is known to bring something."""
    async with node(cluster_url, BusLimits(needs_canary=True)).running() as bob:
        store, me = RedisNodes(bob.redis, KEYS), Incarnation(bob.node_id, "serve", 1)
        for _ in range(10):
            await store.acquire(me, NodeStats())
            await asyncio.sleep(0.4)

        await until(lambda: bob.counted("lag_seconds_count") == 10)
        assert bob.gaps == []


async def test_a_failover_in_good_order_loses_no_frame(private_cluster: Cluster) -> None:
    """The inbox moves to another server while it is written to."""
    async with (
        node(private_cluster.url).running() as ann,
        node(private_cluster.url).running() as bob,
    ):
        async with Stream(ann, bob).flowing() as stream:
            await until(lambda: len(bob.frames) > 50, WAIT_S)
            old = await private_cluster.primary_of(bob.channel)
            new = await private_cluster.hand_over(old)
            arrived = len(bob.frames)
            await until(lambda: len(bob.frames) > arrived + 100, WAIT_S)

        assert new is not old
        await all_has_arrived(stream, bob)


async def test_frames_wait_for_the_successor_of_a_killed_primary(private_cluster: Cluster) -> None:
    """What went to the dead one is sent again when its replica has taken over; what came after waited for it."""
    async with (
        node(private_cluster.url).running() as ann,
        node(private_cluster.url).running() as bob,
    ):
        async with Stream(ann, bob).flowing() as stream:
            await until(lambda: len(bob.frames) > 50, WAIT_S)
            old = await private_cluster.primary_of(bob.channel)
            await private_cluster.kill(old)
            await private_cluster.failed_over(old)
            arrived = len(bob.frames)
            await until(lambda: len(bob.frames) > arrived + 100, WAIT_S)

        await all_has_arrived(stream, bob)


async def test_a_slot_that_moves_takes_its_inbox_along(private_cluster: Cluster) -> None:
    """Resharding: the old primary shows its subscribers the door and answers MOVED; both are understood."""
    async with (
        node(private_cluster.url).running() as ann,
        node(private_cluster.url).running() as bob,
    ):
        async with Stream(ann, bob).flowing() as stream:
            await until(lambda: len(bob.frames) > 50, WAIT_S)
            await _move(private_cluster, key_slot(bob.channel))
            arrived = len(bob.frames)
            await until(lambda: len(bob.frames) > arrived + 100, WAIT_S)

        await all_has_arrived(stream, bob)
        assert bob.counted("moved_total") + ann.counted("moved_total") > 0


async def _move(cluster: Cluster, slot: int) -> ClusterNode:
    """Gives a slot without keys to another primary."""
    old = await cluster.primary_of(slot)
    primaries = await cluster.primaries()
    new = next(primary for primary in primaries if primary is not old)
    for node in [new, old, *(primary for primary in primaries if primary not in (new, old))]:
        await cluster.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", new.node_id)
    return new
