"""What a frame between nodes costs: the bus beside one awaited PUBLISH a frame.

    python -m loadtests.bus_bench [redis URL] [--frames 50000] [--batch 50]

Without a URL a Valkey of its own is started. CPU is this process's user and system time, the figure that survives a
noisy machine; both sides run in this process, so that it is counted for sending and receiving together.
"""

import argparse
import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from base.clock import ServerClock, SystemClock
from base.ids import IdFactory, NodeId
from minuet.embedded import EmbeddedValkey
from presence.metrics import BusMetrics
from storage.redis.bus import RedisBus
from storage.redis.bus_limits import BusLimits
from storage.redis.client import connect
from storage.redis.keys import Keys

FRAME = b"x" * 235  # an ICE candidate


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a frame."""

    cpu_us: float
    wall_us: float


async def measure(frames: int, work: Callable[[], Awaitable[None]]) -> Cost:
    """The cost of each of `frames` frames that `work` sends."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(cpu / frames * 1e6, wall / frames * 1e6)


def _ignore(_: bytes) -> None:
    pass


async def bench(url: str, frames: int, batch: int) -> None:
    redis, keys, clock = connect(url), Keys("bench:"), ServerClock(SystemClock())
    ids = IdFactory(clock.now_ms, os.urandom)
    node, another = NodeId(ids.new()), NodeId(ids.new())
    limits = BusLimits(needs_canary=False)
    sender, receiver = (
        RedisBus(redis, keys, clock, BusMetrics(CollectorRegistry()), limits) for _ in range(2)
    )
    arrived = 0
    all_arrived = asyncio.Event()
    expected = 0

    def receive(_: bytes) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == expected:
            all_arrived.set()

    async def batched() -> None:
        nonlocal expected
        expected = arrived + frames
        all_arrived.clear()
        for start in range(0, frames, batch):
            for _ in range(min(batch, frames - start)):
                sender.publish(node, FRAME)
            await asyncio.sleep(0)
        await all_arrived.wait()

    async def awaited(count: int) -> None:
        channel = keys.node_inbox(NodeId("somebody-else"))
        for _ in range(count):
            await redis.publish(channel, FRAME)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(bus.run()) for bus in (sender, receiver)]
        running.append(tasks.create_task(receiver.listen(node, receive)))
        # As every node it has an inbox, so that it can be asked for what was lost.
        running.append(tasks.create_task(sender.listen(another, _ignore)))
        await receiver.subscribed(node)
        await sender.subscribed(another)
        await batched()  # warm
        few = max(1, frames // 10)
        one_by_one = await measure(few, lambda: awaited(few))
        together = await measure(frames, batched)
        for task in running:
            task.cancel()
    await redis.aclose()
    print(
        f"awaited one at a time, sending only: {one_by_one.cpu_us:6.2f} us CPU, {one_by_one.wall_us:6.2f} us a frame"
    )
    print(
        f"bus, {batch:3} a turn, sent and received: {together.cpu_us:6.2f} us CPU, {together.wall_us:6.2f} us a frame"
    )
    print(f"ratio of CPU: {one_by_one.cpu_us / together.cpu_us:.1f}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=50)
    options = parser.parse_args()
    if options.url:
        await bench(options.url, options.frames, options.batch)
        return
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedValkey(Path(folder), durable=False) as server:
            await bench(server.url, options.frames, options.batch)


if __name__ == "__main__":
    uvloop.run(main())
