"""What was lost between two nodes is sent again; what cannot be had is told. Real servers, real losses."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from base.ids import IdFactory, NodeId
from signaling.ports import Gap
from storage.redis.bus_limits import BusLimits
from storage.redis.bus_sequence import Patience
from storage.redis.client import connect
from tests.fixtures.waiting import WAIT_S, until
from tests.integration.bus.buses import CLOCK, KEYS, Node
from tests.integration.bus.losing_proxy import LosingProxy, nothing, pushes


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[LosingProxy]:
    """Stands before bob."""
    async with LosingProxy(redis_url).running() as running:
        yield running


@pytest.fixture
async def ann(redis_url: str) -> AsyncIterator[Node]:
    async with Node(connect(redis_url)).running() as node:
        yield node


@pytest.fixture
async def bob(proxy: LosingProxy) -> AsyncIterator[Node]:
    async with Node(connect(proxy.url)).running() as node:
        yield node


async def send(sender: Node, receiver: Node, *frames: bytes) -> None:
    """Each in a publication of its own."""
    for frame in frames:
        sender.bus.publish(receiver.node_id, frame)
        await asyncio.sleep(0.01)


async def nobody_listens(redis: Redis, channel: str) -> bool:
    ((_, listeners),) = await redis.pubsub_numsub(channel)
    return listeners == 0


async def test_a_lost_publication_arrives_all_the_same_and_in_its_place(
    ann: Node, bob: Node, proxy: LosingProxy
) -> None:
    """The next one shows the loss, waits for what was asked for, and nobody above the bus notices."""
    await send(ann, bob, b"first")
    proxy.loses = pushes(bob.channel, with_=b"second")
    ann.bus.publish(bob.node_id, b"second")
    await until(lambda: len(proxy.lost) == 1)
    proxy.loses = nothing
    await send(ann, bob, b"third")
    await until(lambda: len(bob.frames) == 3)

    assert bob.frames == [b"first", b"second", b"third"]
    assert bob.gaps == []
    # Once, where the answer comes before it is asked for again.
    assert bob.counted("asked_total") >= 1
    assert bob.counted("filled_total") == 1
    assert ann.counted("sent_again_total") >= 1
    assert bob.counted("held_bytes") == 0
    assert bob.counted("missed_total") == 0


async def test_a_lost_end_is_noticed_though_nothing_follows(ann: Node, bob: Node, proxy: LosingProxy) -> None:
    """After a burst the sender says how far it has come: first soon, and once more for the case that this is lost."""
    proxy.loses = pushes(bob.channel)
    await send(ann, bob, b"the only one")
    await until(lambda: len(proxy.lost) == 2)
    proxy.loses = nothing
    await until(lambda: bob.frames != [])

    assert bob.frames == [b"the only one"]
    assert bob.gaps == []
    assert ann.counted("numbers_told_total") == 2


async def test_a_request_that_is_lost_is_made_again(redis_url: str, bob: Node, proxy: LosingProxy) -> None:
    """Also what was sent again may be lost."""
    async with LosingProxy(redis_url).running() as before_ann, Node(connect(before_ann.url)).running() as ann:
        proxy.loses = pushes(bob.channel, with_=b"lost twice")
        before_ann.loses = pushes(ann.channel)
        await send(ann, bob, b"lost twice", b"second")
        await until(lambda: len(before_ann.lost) == 1)
        before_ann.loses = nothing
        await until(lambda: len(proxy.lost) == 2)
        proxy.loses = nothing
        await until(lambda: len(bob.frames) == 2)

    assert bob.frames == [b"lost twice", b"second"]
    assert bob.gaps == []
    assert bob.counted("asked_total") >= 3


async def test_a_quarter_of_everything_may_be_lost(ann: Node, bob: Node, proxy: LosingProxy) -> None:
    """Publications, repeats, last numbers: every fourth one is. All frames arrive, in order, each once."""
    count = itertools.count()
    of_bob = pushes(bob.channel)
    proxy.loses = lambda item: of_bob(item) and next(count) % 4 == 0
    wanted = [b"%d" % number for number in range(200)]
    await send(ann, bob, *wanted)
    await until(lambda: len(bob.frames) == 200)

    assert bob.frames == wanted
    assert bob.gaps == []
    assert len(proxy.lost) >= 50
    assert bob.counted("filled_total") >= 40


async def test_what_was_sent_while_nobody_listened_is_asked_for(redis_url: str, ann: Node) -> None:
    """A subscription is lost and made again: those who sent something meanwhile are asked for it."""
    async with Node(connect(redis_url)).running() as bob:
        await send(ann, bob, b"before")
        await until(lambda: bob.frames == [b"before"])
        bob.bus._wires.unsubscribe(bob.channel.encode())  # behind the bus's back
        await until(lambda: nobody_listens(ann.redis, bob.channel))
        await send(ann, bob, b"meanwhile", b"and more")
        assert bob.frames == [b"before"]
        bob.bus._wires.subscribe(bob.channel.encode())
        await until(lambda: len(bob.frames) == 3)

        assert bob.frames == [b"before", b"meanwhile", b"and more"]
        assert bob.gaps == [Gap(bob.node_id, asked=frozenset({ann.node_id}))]
        assert bob.counted("missed_total") == 0


async def test_what_is_kept_no_longer_is_told_as_a_gap(redis_url: str, bob: Node, proxy: LosingProxy) -> None:
    """The sender keeps little; what is past that is given up at once, and nothing after it is."""
    limits = BusLimits(needs_canary=False, kept_bytes=1_500)
    async with Node(connect(redis_url), limits).running() as ann:
        await send(ann, bob, b"first")
        proxy.loses = pushes(bob.channel)
        await send(ann, bob, *(b"%d" % number * 900 for number in range(5)))
        await until(lambda: len(proxy.lost) >= 5)
        proxy.loses = nothing
        await send(ann, bob, b"last")
        await until(lambda: b"last" in bob.frames)

        assert bob.frames == [b"first", b"4" * 900, b"last"]
        assert bob.gaps == [Gap(bob.node_id, ann.node_id, 4)]
        assert bob.counted("missed_total") == 4


async def test_a_sender_that_starts_anew_tells_that_it_has_forgotten(
    ann: Node, bob: Node, proxy: LosingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same node it has another link: of the old one nothing can be had, and nobody waits for it."""
    monkeypatch.setattr("storage.redis.bus_outgoing.MOST_LANES", 1)
    await send(ann, bob, b"first")
    proxy.loses = pushes(bob.channel)
    await send(ann, bob, b"lost")
    await until(lambda: len(proxy.lost) == 1)
    proxy.loses = nothing
    await send(ann, bob, b"third", b"fourth")
    ann.bus.publish(NodeId("somebody else"), b"takes the only place")
    ann.bus.publish(bob.node_id, b"of another link")
    await until(lambda: b"of another link" in bob.frames)

    # Asked for at once, so it may have come before it was forgotten; what came is in order either way.
    assert [frame for frame in bob.frames if frame != b"lost"] == [
        b"first",
        b"third",
        b"fourth",
        b"of another link",
    ]


async def test_a_process_that_stood_still_gives_nothing_up_because_of_it(
    ann: Node, proxy: LosingProxy
) -> None:
    """Its patience is over when it wakes up; but it was not the others who were slow."""
    limits = BusLimits(needs_canary=False, patience=Patience(fill_ms=600))
    async with Node(connect(proxy.url), limits).running() as bob:
        await send(ann, bob, b"first")
        proxy.loses = pushes(bob.channel, with_=b"second")
        await send(ann, bob, b"second", b"third")
        await until(lambda: bob.counted("asked_total") >= 1)
        time.sleep(1.5)
        proxy.loses = nothing
        await until(lambda: len(bob.frames) == 3)

    assert bob.frames == [b"first", b"second", b"third"]
    assert bob.gaps == []


SENDER = textwrap.dedent("""
    import asyncio, sys
    from prometheus_client import CollectorRegistry
    from base.clock import ServerClock, SystemClock
    from presence.metrics import BusMetrics
    from storage.redis.bus import RedisBus
    from storage.redis.bus_limits import BusLimits
    from storage.redis.client import connect
    from storage.redis.keys import Keys

    async def main(url, me, them):
        limits = BusLimits(needs_canary=False)
        bus = RedisBus(connect(url), Keys("test:"), ServerClock(SystemClock()), BusMetrics(CollectorRegistry()), limits)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            tasks.create_task(bus.listen(me, lambda frame: None))
            await bus.subscribed(me)
            for line in iter(sys.stdin.readline, ""):
                bus.publish(them, line.strip().encode())
                await asyncio.sleep(0)
                print("sent", flush=True)

    asyncio.run(main(*sys.argv[1:]))
""")


async def test_what_a_killed_sender_lost_is_told_and_what_came_after_it_goes_on(
    redis_url: str, bob: Node, proxy: LosingProxy
) -> None:
    """kill -9: nobody is left to ask. The frames that waited for the lost one are handed on within the patience."""
    sender = NodeId(IdFactory(CLOCK.now_ms, os.urandom).new())
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, redis_url, sender, bob.node_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def publish(frame: str) -> None:
        process.stdin.write(f"{frame}\n")
        process.stdin.flush()
        await asyncio.to_thread(process.stdout.readline)

    # What is sent again is lost as well, so that the process dies before it could help.
    proxy.loses = pushes(bob.channel, with_=b"lost")
    try:
        await publish("first")
        await publish("lost")
        await publish("third")
        await until(lambda: bob.counted("asked_total") >= 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    proxy.loses = nothing
    await until(lambda: bob.frames == [b"first", b"third"])

    assert bob.gaps == [Gap(bob.node_id, sender, 1)]
    assert bob.counted("missed_total") == 1
    assert bob.counted("held_bytes") == 0


async def test_what_waits_of_all_senders_together_is_bounded(proxy: LosingProxy, ann: Node) -> None:
    """Above it the newest hole is given up at once."""
    limits = BusLimits(needs_canary=False, held_total_bytes=5_000, patience=Patience(fill_ms=60_000))
    async with Node(connect(proxy.url), limits).running() as bob:
        raw = msgspec.msgpack.encode
        for sender in range(3):
            batch = [f"sender {sender}", 2, [b"%d" % sender * 2_000], "nobody who answers"]
            await ann.redis.publish(bob.channel, raw(batch))
        await until(lambda: bob.frames != [])

        assert bob.frames == [b"2" * 2_000]
        assert bob.gaps == [Gap(bob.node_id, NodeId("nobody who answers"), 1)]
        assert bob.counted("held_bytes") == 4_000


async def test_a_node_of_the_release_before_is_neither_asked_nor_disturbed(
    ann: Node, bob: Node, redis_url: str
) -> None:
    """It publishes three fields, and reads as many of ours; it knows no requests and takes repeats for frames."""
    redis: Redis = ann.redis
    await redis.publish(bob.channel, msgspec.msgpack.encode(["older", 1, [b"from an older one"]]))
    await redis.publish(bob.channel, msgspec.msgpack.encode(["older", 3, [b"and later"]]))
    older_reads: list[list[object]] = []
    async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(KEYS.node_inbox("older"))
        async with asyncio.timeout(WAIT_S):
            while await nobody_listens(redis, KEYS.node_inbox("older")):
                await pubsub.get_message(timeout=0.1)
        ann.bus.publish(NodeId("older"), b"to an older one")
        async with asyncio.timeout(WAIT_S):
            while len(older_reads) < 3:
                message = await pubsub.get_message(timeout=0.1)
                if message is not None:
                    older_reads.append(msgspec.msgpack.decode(message["data"])[:3])
        nothing_more = await pubsub.get_message(timeout=0.5)

    assert nothing_more is None
    assert bob.frames == [b"from an older one", b"and later"]
    assert bob.gaps == [Gap(bob.node_id, None, 1)]
    assert bob.counted("asked_total") == 0
    # Twice it learns, as far as it can, that the next number is 2: it counts no gap and hands nothing on.
    assert [(first, frames) for _, first, frames in older_reads] == [
        (1, [b"to an older one"]),
        (2, []),
        (2, []),
    ]
