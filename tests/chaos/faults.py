"""What a fault is: something that is done to a deployment, and the proof that it was done.

A fault is a value, drawn from a seed, whose `repr` is its place in a schedule. `inject` breaks something, mends it again and
returns what it saw of both; where the proof is missing it raises `NotSeen`, and the run has failed whatever else it shows.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.deployment import CANARY, Deployment
from tests.chaos.swarm import Swarm
from tests.chaos.swarm_world import Account

Facts = Mapping[str, Any]

_PROC = Path("/proc")


class NotSeen(Exception):
    """A fault left no trace: it did not happen, and what the run shows is worth nothing."""


class Noticed(Exception):
    """Something was noticed of what nobody may notice."""


@dataclass(slots=True)
class Scene:
    """What faults are done to."""

    deployment: Deployment
    swarm: Swarm
    strangers: Sequence[Account] = ()
    """Who else may come, and is not of the swarm."""

    def now_ms(self) -> float:
        return self.swarm.history.now_ms()


@dataclass(frozen=True, slots=True)
class Excuse:
    """What the checker may excuse because of a fault."""

    away: bool = False
    """Nothing was decided in time: Redis could not be reached, or whoever decides was paused or dead."""
    lossy: bool = False
    """Writes that had been acknowledged are gone."""
    ends_sessions: bool = False
    """A session may be answered by `ready {resumed: false}`."""
    alone: bool = False
    """A hub could not store what it told, Redis lost nothing, and so nobody held back meanwhile: whoever began anew on another
    hub could not be told the same."""


class Fault(Protocol):
    """One way to break a deployment."""

    @property
    def excuse(self) -> Excuse:
        """What it may be blamed for."""
        ...

    async def inject(self, scene: Scene) -> Facts:
        """Breaks, mends, and returns what was seen. Raises: NotSeen."""
        ...


def prove(seen: bool, what: str) -> None:
    """Raises: NotSeen, unless it was seen."""
    if not seen:
        raise NotSeen(what)


def state_of(pid: int) -> str:
    """The letter that says what a process does (`T`: stopped, `Z`: dead and not yet asked for); empty where there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def processor_ticks(pid: int) -> int:
    """How much processor time a process has used."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def until_state(pid: int, states: str, timeout_s: float = 30.0) -> str:
    """Waits for one of these states, an empty one included. The last state seen."""
    deadline = time.monotonic() + timeout_s
    while (state := state_of(pid)) not in states or (not state and " " not in states):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.005)
    return state


@dataclass(frozen=True, slots=True)
class Memory:
    """What a Redis is known by, before and after something was done to it."""

    run_id: str
    keys: int
    canary: str | None


async def remember(deployment: Deployment, canary: str | None = None) -> Memory:
    """Asks the plain Redis itself; with `canary` leaves that there first."""
    async with deployment.redis() as redis:
        if canary is not None:
            await redis.set(CANARY, canary)
        info = await redis.info("server")
        kept = await redis.get(CANARY)
        return Memory(info["run_id"], await redis.dbsize(), kept.decode() if kept else None)
