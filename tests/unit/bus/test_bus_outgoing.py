"""What leaves for other nodes, and what waits and is kept of it, with connections that take what they are given."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock, ServerClock
from base.ids import NodeId
from presence.metrics import BusMetrics
from storage.redis.bus_frames import Ask, Batch
from storage.redis.bus_ground import Ground, Warnings
from storage.redis.bus_limits import BusLimits
from storage.redis.bus_outgoing import Outgoing
from storage.redis.bus_sequence import GONE, OPEN
from storage.redis.keys import Keys
from tests.fixtures.waiting import until

KEYS = Keys("test:")
ANN, BOB, EVE = NodeId("ann"), NodeId("bob"), NodeId("eve")


class Link:
    """A connection that keeps what is published over it."""

    def __init__(self) -> None:
        self.publications: list[tuple[bytes, Batch]] = []
        self.writes = 0

    def publish(self, batches: Sequence[tuple[bytes, bytes]]) -> None:
        self.writes += 1
        self.publications += [
            (channel, msgspec.msgpack.decode(payload, type=Batch)) for channel, payload in batches
        ]

    def frames_to(self, node_id: NodeId) -> list[bytes]:
        channel = KEYS.node_inbox(node_id).encode()
        return [frame for where, batch in self.publications if where == channel for frame in batch.frames]


class Sender:
    """A node's way out; `away` names those whose server has no connection."""

    def __init__(self, limits: BusLimits | None = None) -> None:
        self.time, self.link = ManualClock(), Link()
        self.registry = CollectorRegistry()
        self.away: set[bytes] = set()
        clock = ServerClock(self.time)
        ground = Ground(KEYS, clock, BusMetrics(self.registry), limits or BusLimits(), Warnings(clock))
        self.out = Outgoing(ground, name="me", route=cast(Any, self._route))
        self.out.origin = "me"

    def _route(self, channel: bytes) -> Link | None:
        return None if channel in self.away else self.link

    def lose(self, node_id: NodeId) -> None:
        self.away.add(KEYS.node_inbox(node_id).encode())

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"minuet_bus_{name}", labels) or 0.0


async def test_one_turn_is_one_write_with_one_publication_for_each_node() -> None:
    """Whatever the order in which frames for them came."""
    sender = Sender()
    for number in range(10):
        for node in (ANN, BOB):
            sender.out.publish(node, b"%d" % number)
    await asyncio.sleep(0)

    assert sender.link.writes == 1
    assert len(sender.link.publications) == 2
    assert sender.link.frames_to(ANN) == sender.link.frames_to(BOB) == [b"%d" % n for n in range(10)]


async def test_a_node_that_cannot_be_reached_holds_up_nobody_else() -> None:
    """On a cluster its primary is away; its frames wait, numbered when they leave."""
    sender = Sender()
    sender.lose(BOB)
    for node in (BOB, ANN):
        sender.out.publish(node, b"first")
    await asyncio.sleep(0)
    others = list(sender.link.publications)
    sender.away.clear()
    sender.out.publish(BOB, b"second")
    await asyncio.sleep(0)

    assert [batch.frames for _, batch in others] == [[b"first"]]
    assert sender.link.frames_to(BOB) == [b"first", b"second"]
    assert sender.link.publications[-1][1].first == 1


async def test_whoever_has_most_waiting_loses_the_oldest() -> None:
    """One dead server must not cost the others their frames; the numbers go on, so that the loss is known."""
    sender = Sender(BusLimits(waiting_bytes=100))
    sender.lose(ANN)
    sender.lose(BOB)
    sender.out.publish(BOB, b"for bob")
    for number in range(50):
        sender.out.publish(ANN, b"%02d for ann" % number)
    sender.away.clear()
    await asyncio.sleep(0)
    [to_ann] = [batch for channel, batch in sender.link.publications if b"ann" in channel]

    assert sender.link.frames_to(BOB) == [b"for bob"]
    assert to_ann.frames[-1] == b"49 for ann"
    assert to_ann.first == to_ann.floor == 50 - len(to_ann.frames) + 1
    assert sender.counted("dropped_total", reason="overflow") == to_ann.first - 1


async def test_what_is_kept_is_bounded_over_all_links_together() -> None:
    """Each link may keep much, all of them together less than that."""
    sender = Sender(BusLimits(kept_bytes=10_000, kept_total_bytes=20_000))
    for number in range(300):
        sender.out.publish(NodeId(f"node {number % 10}"), b"x" * 1_000)
        await asyncio.sleep(0)
    kept = sum(lane.kept.bytes for lane in sender.out._lanes.values())

    assert kept == sender.out._kept_bytes
    assert 5_000 < kept <= 20_000


async def test_what_is_asked_for_in_vain_is_said_to_be_gone() -> None:
    """Of another link than today's, or to a node that was never written to."""
    sender = Sender()
    sender.out.publish(ANN, b"frame")
    await asyncio.sleep(0)
    sender.link.publications.clear()
    sender.out.again(Ask(ANN, "of an older process", [(1, 1)]))
    sender.out.again(Ask(EVE, "of nobody", [(1, OPEN)]))
    await asyncio.sleep(0)

    assert [(batch.sender, batch.floor, batch.origin) for _, batch in sender.link.publications] == [
        ("of an older process", GONE, "me"),
        ("of nobody", GONE, "me"),
    ]


async def test_after_ten_seconds_nothing_is_kept_and_nothing_ticks() -> None:
    """An idle process sleeps."""
    sender = Sender()
    sender.out.publish(ANN, b"frame")
    await asyncio.sleep(0)
    kept = sender.out._kept_bytes
    for _ in range(2):
        sender.time.advance(6)
        await until(lambda: sender.out._expired_at == sender.time.monotonic_ms())
    await until(lambda: sender.out._tick_due is None)

    assert kept > 0
    assert sender.counted("kept_bytes") == 0
    assert sender.counted("numbers_told_total") == 2


async def test_a_link_that_is_not_used_is_forgotten_and_another_begins_at_one() -> None:
    """Under another name, so that its numbers do not look like repeats."""
    sender = Sender()
    sender.out.publish(ANN, b"before")
    await asyncio.sleep(0)
    sender.time.advance(3_600)
    sender.out.publish(BOB, b"frame")
    await until(lambda: len(sender.out) == 1)
    sender.out.publish(ANN, b"after")
    await asyncio.sleep(0)
    before, after = (
        batch for channel, batch in sender.link.publications if b"ann" in channel and batch.frames
    )

    assert (before.first, after.first) == (1, 1)
    assert before.sender != after.sender


@pytest.mark.parametrize("size", [1, 400])
async def test_a_publication_holds_what_fits_and_at_least_one_frame(size: int) -> None:
    """Also a frame that is larger than publications are meant to be."""
    sender = Sender(BusLimits(batch_bytes=300))
    for number in range(4):
        sender.out.publish(ANN, b"%d" % number * size)
    await asyncio.sleep(0)

    assert len(sender.link.publications) == (1 if size == 1 else 4)
    assert [batch.first for _, batch in sender.link.publications] == ([1] if size == 1 else [1, 2, 3, 4])
