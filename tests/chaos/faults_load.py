"""Far more people than a deployment is made for: handshakes, and joins of those who were let in."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from tests.chaos.deployment import Layout, until
from tests.chaos.faults import Excuse, Facts, Scene, prove
from tests.chaos.swarm_socket import NotLetIn, Socket
from tests.chaos.swarm_world import Account

CROWD: Final = """
# Where those queue who come in overload: all of one side, so that nobody of them meets anybody.
[intents.crowd]
pairing = "dating"
"""
FACTOR: Final = 10
JOINS: Final = 30
_JOINERS: Final = 20
_AT_ONCE: Final = 100
_HANDSHAKE_S: Final = 10.0
_RECOVERY_S: Final = 20.0
_SUBPROTOCOL: Final = "minuet.v1.json"


@dataclass(frozen=True, slots=True)
class Overload:
    """Ten times as many handshakes as there is room left for, and of some who get in five times the joins allowed a minute."""

    seconds: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True)

    @classmethod
    def draw(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(round(rng.uniform(1.0, 2.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        layout = scene.deployment.layout
        flood = _Flood(scene.deployment.url, scene.strangers)
        try:
            await flood.come(FACTOR * (layout.hubs * layout.max_sessions - len(scene.swarm.people)))
            joins = await flood.join()
            await asyncio.sleep(self.seconds)
            statuses = Counter(flood.statuses)
        finally:
            flood.leave()
        began = time.monotonic()
        await until(flood.is_let_in, _RECOVERY_S, "a handshake was still refused when the crowd had left")

        prove(statuses[503] > 0, f"nobody was turned away: {dict(statuses)}")
        prove(
            # Who is between handshake and session takes no room yet.
            statuses[101] <= layout.hubs * layout.max_sessions + _AT_ONCE,
            f"more were let in than there is room for: {dict(statuses)}",
        )
        prove(flood.told_when > 0, "no 503 said when to come back")
        prove(joins["rate_limited"] > 0, f"joins were not limited: {dict(joins)}")
        prove(not set(joins) - {"ok", "rate_limited", "unavailable"}, f"joins were answered {dict(joins)}")
        return {
            "handshakes": {str(status): count for status, count in statuses.items()},
            "joins": dict(joins),
            "let_in_again_after_s": round(time.monotonic() - began, 2),
        }


class _Flood:
    """Everybody who comes at once."""

    def __init__(self, url: str, strangers: Sequence[Account]) -> None:
        self._url = url
        self._strangers = itertools.cycle(strangers)
        self._inside: list[_Visitor] = []
        self.statuses: Counter[int] = Counter()
        self.told_when = 0

    async def come(self, number: int) -> None:
        """So many handshakes, as quickly as they can be made; whoever gets in stays."""
        turns = iter(range(number))

        async def one_after_the_other() -> None:
            for turn in turns:
                await self._enter(turn)

        await asyncio.gather(*(one_after_the_other() for _ in range(_AT_ONCE)))

    async def join(self) -> Counter[str]:
        """Those inside ask again and again to be queued; how they were answered."""
        answers: Counter[str] = Counter()
        # One device of each: a second one would be told that the first has the place.
        ready = {visitor.user_id: visitor for visitor in self._inside if visitor.is_ready}
        for answer in await asyncio.gather(*(visitor.join() for visitor in list(ready.values())[-_JOINERS:])):
            answers.update(answer)
        return answers

    async def is_let_in(self) -> bool:
        """Whether a handshake is answered 101 now."""
        try:
            socket = await Socket.connect(self._url, _SUBPROTOCOL, _HANDSHAKE_S)
        except (NotLetIn, OSError, TimeoutError):
            return False
        socket.close(1000)
        return True

    def leave(self) -> None:
        for visitor in self._inside:
            visitor.socket.close(1000)

    async def _enter(self, turn: int) -> None:
        account = next(self._strangers)
        try:
            socket = await Socket.connect(self._url, _SUBPROTOCOL, _HANDSHAKE_S)
        except NotLetIn as refusal:
            self.statuses[refusal.status] += 1
            self.told_when += refusal.retry_after_s > 0
            return
        except (OSError, TimeoutError):
            self.statuses[0] += 1
            return
        self.statuses[101] += 1
        visitor = _Visitor(account.user_id, socket)
        visitor.send("session.start", {"token": account.token, "device_id": f"crowd-{turn}"})
        self._inside.append(visitor)
        # Until it has a session it does not count for those who come after it.
        await visitor.until("session.ready", 2.0)


class _Visitor:
    """One of the crowd."""

    def __init__(self, user_id: str, socket: Socket) -> None:
        self.user_id = user_id
        self.socket = socket
        self._heard: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        socket.on_message = self._hear

    def send(self, type_: str, data: dict[str, Any], request: int | None = None) -> None:
        envelope = {"type": type_, "data": data} | ({} if request is None else {"id": request})
        self.socket.send(msgspec.json.encode(envelope), binary=False)

    @property
    def is_ready(self) -> bool:
        return bool(self._heard["session.ready"]) and not self.socket.is_gone

    async def join(self) -> Counter[str]:
        self._answers.clear()
        for request in range(1, JOINS + 1):
            self.send("queue.join", {"intent": "crowd", "preferences": {}}, request)
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and not self.socket.is_gone:
            if self._answers.total() >= JOINS:
                break
            await asyncio.sleep(0.05)
        return self._answers

    async def until(self, what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._heard[what] and not self.socket.is_gone and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _hear(self, payload: bytes) -> None:
        message = msgspec.json.decode(payload)
        if message["type"] == "ping":
            self.socket.send(msgspec.json.encode({"type": "pong"}), binary=False)
        self._heard[message["type"]] += 1
        if message["type"] in ("ok", "error"):
            self._answers["ok" if message["type"] == "ok" else message["data"]["code"]] += 1
