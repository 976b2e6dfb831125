"""The network between clients and hubs, and between processes and Redis: it stalls, resets, cuts, refuses and dawdles."""

import asyncio
import errno
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.chaos.deployment import FRONT, Layout, until
from tests.chaos.faults import Excuse, Facts, Scene, prove
from tests.chaos.proxy import Counters, Direction
from tests.chaos.proxy_process import BOTH, LinkHandle

SOME_WAYS: tuple[tuple[Direction, ...], ...] = (BOTH, BOTH, ("up",), ("down",))
BACK_S = 60.0
"""Within which nearly all clients are back after a storm."""


def _excuse(links: Sequence[str]) -> Excuse:
    # Whoever lost its Redis for longer than its lease is another node afterwards.
    of_hub = any(link.startswith("hub") for link in links)
    return Excuse(away=True, ends_sessions=of_hub, alone=of_hub)


@dataclass(frozen=True, slots=True)
class Stall:
    """Connections stay open and nothing moves in some direction: the cut that nobody is told of."""

    links: tuple[str, ...]
    """`front` (clients), or members, each with its own way to Redis."""
    ways: tuple[Direction, ...]
    seconds: float

    @property
    def excuse(self) -> Excuse:
        return _excuse(self.links)

    @classmethod
    def of_redis(cls, rng: random.Random, layout: Layout) -> Self:
        everybody = rng.random() < 0.3
        links = layout.names if everybody else (rng.choice(layout.names),)
        return cls(links, rng.choice(SOME_WAYS), round(rng.uniform(1.0, 6.0), 2))

    @classmethod
    def of_clients(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls((FRONT,), rng.choice(SOME_WAYS), round(rng.uniform(1.0, 6.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        links = [scene.deployment.links[name] for name in self.links]
        before = [await _stalled(link, self.ways) for link in links]
        moved = [_moved(counters, self.ways) for counters in before]
        await asyncio.sleep(self.seconds)
        after = [await link.count() for link in links]
        for link in links:
            await link.flow()

        held = sum(now.stalled_bytes - then.stalled_bytes for now, then in zip(after, before, strict=True))
        leaked = sum(_moved(now, self.ways) - then for now, then in zip(after, moved, strict=True))
        prove(held > 0, "nothing was sent that could be held")
        prove(leaked == 0, f"{leaked} bytes moved all the same")
        return {"held_bytes": held, "moved_bytes": leaked, "connections": sum(c.open for c in before)}


async def _stalled(link: LinkHandle, ways: tuple[Direction, ...]) -> Counters:
    await link.stall(ways)
    return await link.count()


def _moved(counters: Counters, ways: tuple[Direction, ...]) -> int:
    return counters.moved_up * ("up" in ways) + counters.moved_down * ("down" in ways)


@dataclass(frozen=True, slots=True)
class Reset:
    """Every connection of a link is reset, all at once. Of all clients: a storm of reconnects."""

    link: str

    @property
    def excuse(self) -> Excuse:
        return _excuse((self.link,))

    @classmethod
    def of_redis(cls, rng: random.Random, layout: Layout) -> Self:
        return cls(rng.choice(layout.names))

    @classmethod
    def of_clients(cls, _rng: random.Random, _layout: Layout) -> Self:
        return cls(FRONT)

    async def inject(self, scene: Scene) -> Facts:
        link = scene.deployment.links[self.link]
        before = await link.count()
        began = asyncio.get_running_loop().time()
        count = await link.reset()

        async def back() -> bool:
            return (await link.count()).open >= 0.9 * before.open

        await until(back, BACK_S, f"fewer than nine in ten of {before.open} connections came back")
        took = asyncio.get_running_loop().time() - began
        after = await link.count()

        prove(count > 0, "there was no connection to reset")
        prove(after.reset - before.reset == count, "the proxy counted otherwise")
        return {"reset": count, "open": [before.open, after.open], "nine_in_ten_back_after_s": round(took, 2)}


@dataclass(frozen=True, slots=True)
class Cut:
    """Each connection of a link is reset after so many more bytes: in the middle of a message, wherever that is."""

    link: str
    after: int
    seconds: float

    @property
    def excuse(self) -> Excuse:
        return _excuse((self.link,))

    @classmethod
    def of_redis(cls, rng: random.Random, layout: Layout) -> Self:
        return cls(rng.choice(layout.names), rng.randint(200, 20_000), round(rng.uniform(0.5, 2.0), 2))

    @classmethod
    def of_clients(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(FRONT, rng.randint(200, 4_000), round(rng.uniform(0.5, 2.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        link = scene.deployment.links[self.link]
        before = await link.count()
        await link.cut(self.after)

        async def one() -> bool:
            return (await link.count()).cut > before.cut

        try:
            await until(one, 10.0, "nothing was sent that could be cut")
            await asyncio.sleep(self.seconds)
        finally:
            await link.cut(None)
        after = await link.count()
        return {"cut": after.cut - before.cut}


@dataclass(frozen=True, slots=True)
class Slow:
    """Every byte of a link comes late."""

    link: str
    delay_s: float
    seconds: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True)

    @classmethod
    def of_redis(cls, rng: random.Random, layout: Layout) -> Self:
        return cls(
            rng.choice(layout.names), round(rng.uniform(0.02, 0.2), 3), round(rng.uniform(2.0, 5.0), 2)
        )

    @classmethod
    def of_clients(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(FRONT, round(rng.uniform(0.1, 0.6), 3), round(rng.uniform(2.0, 5.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        link = scene.deployment.links[self.link]
        before = await link.count()
        await link.delay(self.delay_s)
        await asyncio.sleep(self.seconds)
        after = await link.count()
        await link.delay(0)

        late = after.delayed_bytes - before.delayed_bytes
        prove(late > 0, "nothing was sent that could be late")
        return {"delayed_bytes": late}


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody listens at a link, and what is open is cut: clients, or a process, meet a closed door."""

    link: str
    seconds: float

    @property
    def excuse(self) -> Excuse:
        return _excuse((self.link,))

    @classmethod
    def of_redis(cls, rng: random.Random, layout: Layout) -> Self:
        return cls(rng.choice(layout.names), round(rng.uniform(0.5, 6.0), 2))

    @classmethod
    def of_clients(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(FRONT, round(rng.uniform(0.5, 4.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        link = scene.deployment.links[self.link]
        await link.refuse()
        try:
            count = await link.reset()
            await asyncio.sleep(self.seconds)
            refused = _dial(link)
        finally:
            await link.accept()
        taken = _dial(link)

        prove(refused == errno.ECONNREFUSED, f"connecting gave {refused}")
        prove(taken == 0, f"connecting gave {taken} afterwards")
        return {"refused": errno.errorcode[refused], "reset": count}


def _dial(link: LinkHandle) -> int:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(link.address)
