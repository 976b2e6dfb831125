"""What becomes of frames when the store dies, hangs or forgets a subscription. All of it really happens."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time

from prometheus_client import CollectorRegistry

from base.ids import IdFactory, NodeId
from minuet.embedded import EmbeddedValkey
from presence.metrics import BusMetrics
from presence.nodes import Incarnation, NodeStats
from signaling.ports import Gap
from storage.redis.bus import RedisBus
from storage.redis.bus_limits import BusLimits
from storage.redis.client import connect
from storage.redis.nodes import RedisNodes
from tests.fixtures.waiting import WAIT_S, until
from tests.integration.bus.buses import CLOCK, KEYS, Node
from tests.integration.bus.stalling_proxy import StallingProxy


def node(url: str, limits: BusLimits | None = None) -> Node:
    return Node(connect(url, timeout_s=2), limits)


async def exchange(sender: Node, receiver: Node, frame: bytes) -> None:
    """Publishes until the frame arrives: delivery works again."""
    for attempt in itertools.count():
        sender.bus.publish(receiver.node_id, frame + b" %d" % attempt)
        await asyncio.sleep(0.05)
        if any(got.startswith(frame) for got in receiver.frames):
            return
        assert attempt < WAIT_S / 0.05, "nothing arrives any more"


async def test_the_bus_comes_back_after_the_store_was_killed(private_valkey: EmbeddedValkey) -> None:
    """Both sides connect again by themselves; what was published meanwhile arrives as well, nothing comes twice."""
    async with node(private_valkey.url).running() as ann, node(private_valkey.url).running() as bob:
        await exchange(ann, bob, b"before")
        await private_valkey.kill()
        await until(lambda: not ann.bus.is_connected and not bob.bus.is_connected)
        ann.bus.publish(bob.node_id, b"meanwhile")
        await asyncio.sleep(0.3)
        await private_valkey.start()
        await bob.bus.subscribed(bob.node_id)
        await exchange(ann, bob, b"after")

        await until(lambda: b"meanwhile" in bob.frames)
        assert bob.gaps == [Gap(bob.node_id, asked=frozenset({ann.node_id}))]
        assert len(bob.frames) == len(set(bob.frames))
        assert bob.frames.index(b"before 0") < bob.frames.index(b"meanwhile")
        assert not any(frame.startswith(b"after") for frame in bob.frames[: bob.frames.index(b"meanwhile")])


async def test_a_cut_connection_is_replaced_at_once(redis_url: str) -> None:
    """A load balancer or firewall closes it: the listener hears of the gap and of the next frame, without any silence."""
    patient = BusLimits(needs_canary=False, silence_ms=60_000)
    async with (
        StallingProxy(redis_url).running() as proxy,
        node(proxy.url, patient).running() as bob,
        node(redis_url).running() as ann,
    ):
        await exchange(ann, bob, b"before")
        proxy.cut()
        await until(lambda: bob.counted("connects_total") == 2)
        await bob.bus.subscribed(bob.node_id)
        await exchange(ann, bob, b"after")

        assert bob.gaps == [Gap(bob.node_id, asked=frozenset({ann.node_id}))]


async def test_a_connection_on_which_nothing_moves_is_given_up(redis_url: str) -> None:
    """The network swallows everything and closes nothing: silence alone must be enough."""
    async with (
        StallingProxy(redis_url).running() as proxy,
        node(proxy.url).running() as bob,
        node(redis_url).running() as ann,
    ):
        await exchange(ann, bob, b"before")
        proxy.stall()
        await until(lambda: not bob.bus.is_connected)
        proxy.flow()
        await until(lambda: bob.counted("connects_total") == 2)
        await bob.bus.subscribed(bob.node_id)
        await exchange(ann, bob, b"after")

        assert bob.gaps == [Gap(bob.node_id, asked=frozenset({ann.node_id}))]


async def test_a_subscription_that_hangs_is_found_by_its_missing_canary(redis_url: str) -> None:
    """The connection answers every PING, and frames have stopped all the same."""
    async with (
        node(redis_url, BusLimits(needs_canary=True)).running() as bob,
        node(redis_url).running() as ann,
    ):
        nodes, me = RedisNodes(bob.redis, KEYS), Incarnation(bob.node_id, "serve", 1)

        async def keep_lease() -> None:
            while True:
                await nodes.acquire(me, NodeStats())
                await asyncio.sleep(0.3)

        lease = asyncio.create_task(keep_lease())
        await exchange(ann, bob, b"before")
        await asyncio.sleep(1.5)
        connects_with_canaries = bob.counted("connects_total")
        link = bob.bus._route(b"any channel")
        assert link is not None
        link.unsubscribe(KEYS.node_inbox(bob.node_id).encode())  # behind the bus's back
        await until(lambda: bob.counted("connects_total") == 2)
        await bob.bus.subscribed(bob.node_id)
        await exchange(ann, bob, b"after")
        lease.cancel()

        assert connects_with_canaries == 1
        assert bob.gaps == [Gap(bob.node_id, asked=frozenset({ann.node_id}))]


async def test_a_store_that_pauses_briefly_loses_nothing(private_valkey: EmbeddedValkey) -> None:
    """Less than the silence that is borne: no connection is given up, every frame arrives in order."""
    url = private_valkey.url
    async with (
        node(url, BusLimits(needs_canary=False, silence_ms=10_000)).running() as ann,
        node(url, BusLimits(needs_canary=False, silence_ms=10_000)).running() as bob,
    ):
        wanted = [b"%d" % number for number in range(300)]
        for number, frame in enumerate(wanted):
            if number == 100:
                private_valkey.pause()
            if number == 200:
                await asyncio.sleep(0.8)
                private_valkey.resume()
            ann.bus.publish(bob.node_id, frame)
            await asyncio.sleep(0)
        await until(lambda: len(bob.frames) == 300)

        assert bob.frames == wanted
        assert bob.gaps == []
        assert ann.counted("connects_total") == bob.counted("connects_total") == 1


LISTENER = textwrap.dedent("""
    import asyncio, sys
    from prometheus_client import CollectorRegistry
    from base.clock import ServerClock, SystemClock
    from presence.metrics import BusMetrics
    from presence.nodes import Incarnation, NodeStats
    from storage.redis.bus import RedisBus
    from storage.redis.client import connect
    from storage.redis.keys import Keys
    from storage.redis.nodes import RedisNodes

    async def main(url, node_id):
        redis, keys = connect(url), Keys("test:")
        bus = RedisBus(redis, keys, ServerClock(SystemClock()), BusMetrics(CollectorRegistry()))
        bus.on_gap(lambda gap: print("gap", gap.missed, flush=True))
        nodes = RedisNodes(redis, keys)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            tasks.create_task(bus.listen(node_id, lambda frame: print(frame.decode(), flush=True)))
            while True:
                await nodes.acquire(Incarnation(node_id, "serve", 1), NodeStats())
                await asyncio.sleep(0.5)

    asyncio.run(main(sys.argv[1], sys.argv[2]))
""")


async def test_a_stopped_process_reads_what_came_meanwhile_and_blames_nobody(redis_url: str) -> None:
    """SIGSTOP for longer than the silence that is borne: the silence was its own, the frames are in its socket."""
    async with node(redis_url).running() as ann:
        node_id = NodeId(IdFactory(CLOCK.now_ms, os.urandom).new())
        process = subprocess.Popen(
            [sys.executable, "-c", LISTENER, redis_url, node_id], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = process.stdout
        try:
            while await ann.redis.pubsub_numsub(KEYS.node_inbox(node_id)) == [
                (KEYS.node_inbox(node_id).encode(), 0)
            ]:
                await asyncio.sleep(0.05)
            ann.bus.publish(node_id, b"before")
            before = await asyncio.to_thread(lines.readline)
            process.send_signal(signal.SIGSTOP)
            for number in range(5):
                ann.bus.publish(node_id, b"meanwhile %d" % number)
                await asyncio.sleep(0.8)
            process.send_signal(signal.SIGCONT)
            ann.bus.publish(node_id, b"after")
            after = [await asyncio.to_thread(lines.readline) for _ in range(6)]
        finally:
            process.kill()
            process.wait()

        assert before == "before\n"
        assert after == [*(f"meanwhile {number}\n" for number in range(5)), "after\n"]


async def test_without_a_store_the_bus_keeps_trying_without_haste() -> None:
    """Attempts back off, so that a store that comes back is not met by a storm, and no loop spins."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    bus = RedisBus(redis, KEYS, CLOCK, BusMetrics(CollectorRegistry()), BusLimits(needs_canary=False))
    running = asyncio.create_task(bus.run())
    used = []
    for _ in range(3):
        # The least of them: garbage of other tests may be collected in any.
        before = time.process_time()
        await asyncio.sleep(1)
        used.append(time.process_time() - before)
    running.cancel()
    await asyncio.wait({running})
    await redis.aclose()

    assert running.cancelled()
    assert not bus.is_connected
    assert min(used) < 0.25
