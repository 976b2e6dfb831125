"""What waits after a standstill, for how long, and in which order it goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.errors import Unavailable
from signaling import standstill
from signaling.metrics import SessionMetrics
from signaling.standstill import GAP_MS, MAX_HELD_BYTES, Standstill
from tests.fixtures.waiting import until


class Scene:
    """A node that can be made to stand still, and that looks again when the test lets it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.standstill = Standstill(self.clock.monotonic_ms, SessionMetrics(self.registry))
        self.may_look = asyncio.Event()
        self.looks = 0
        self.handled: list[bytes] = []
        self.receive = self.standstill.guard(self.handled.append)

    async def look_again(self) -> None:
        self.looks += 1
        await self.may_look.wait()

    @asynccontextmanager
    async def running(self, look: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[None]:
        task = asyncio.create_task(self.standstill.run(look or self.look_again))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def beat_for(self, ms: int) -> None:
        """The loop turns every 250 ms."""
        for _ in range(0, ms, 250):
            self.clock.advance(0.25)
            assert self.standstill.beat(self.clock.monotonic_ms())


async def test_frames_pass_as_long_as_the_loop_turns() -> None:
    """However long a node runs: without a gap nothing waits and nobody looks."""
    scene = Scene()
    async with scene.running():
        scene.beat_for(20 * GAP_MS)
        scene.receive(b"one")

    assert scene.handled == [b"one"]
    assert scene.looks == 0


async def test_after_a_gap_everything_waits_in_order_until_the_node_has_looked() -> None:
    """What comes before the timer fires is held as well as what comes after it, and goes on in its order."""
    scene = Scene()
    async with scene.running():
        scene.beat_for(1000)
        scene.clock.advance(GAP_MS / 1000)
        scene.receive(b"one")
        beats = scene.standstill.beat(scene.clock.monotonic_ms())
        scene.receive(b"two")
        await until(lambda: scene.looks == 1)
        before = list(scene.handled)
        scene.may_look.set()
        await scene.standstill.passed()
        scene.receive(b"three")

    assert not beats
    assert before == []
    assert scene.handled == [b"one", b"two", b"three"]
    assert scene.registry.get_sample_value("minuet_standstills_total") == 1
    assert scene.registry.get_sample_value("minuet_standstill_frames_total", {"result": "held"}) == 2


async def test_a_gap_is_noticed_without_any_frame() -> None:
    """The timer alone is enough: whoever asks whether it has passed waits for the look."""
    scene = Scene()
    async with scene.running():
        scene.clock.advance(GAP_MS / 1000)
        waiting = asyncio.create_task(scene.standstill.passed())
        await until(lambda: scene.looks == 1)
        early = waiting.done()
        scene.may_look.set()
        await asyncio.wait_for(waiting, 5)

    assert not early


async def test_no_more_than_the_bound_is_kept() -> None:
    """A flood after a standstill costs bounded memory; who cannot be kept is told so, not forgotten silently."""
    scene = Scene()
    async with scene.running():
        scene.clock.advance(GAP_MS / 1000)
        kept = [scene.standstill.hold(lambda: None, MAX_HELD_BYTES // 4) for _ in range(6)]

    assert kept == [True] * 4 + [False] * 2


async def test_a_look_that_finds_the_store_away_is_taken_again() -> None:
    """Nothing is handled on a guess."""
    scene = Scene()
    failures = [Unavailable("away"), ValueError("a mistake of ours")]

    async def look() -> None:
        scene.looks += 1
        if failures:
            raise failures.pop(0)

    async with scene.running(look):
        scene.clock.advance(GAP_MS / 1000)
        scene.receive(b"one")
        await until(lambda: scene.handled == [b"one"])

    assert scene.looks == 3


async def test_one_frame_that_fails_does_not_keep_the_others() -> None:
    """Each is one client's own affair."""
    scene = Scene()

    def fail() -> None:
        raise ValueError("broken")

    async with scene.running():
        scene.clock.advance(GAP_MS / 1000)
        scene.standstill.hold(fail, 1)
        scene.receive(b"two")
        scene.may_look.set()
        await until(lambda: scene.handled == [b"two"])


async def test_a_node_that_does_not_watch_holds_nothing() -> None:
    """A process without sessions has no need to."""
    scene = Scene()
    scene.clock.advance(60)

    assert scene.standstill.beat(scene.clock.monotonic_ms())
    scene.receive(b"one")
    assert scene.handled == [b"one"]
    assert standstill.GAP_MS < 4_000
