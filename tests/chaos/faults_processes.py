"""Processes that die without a word, or stand still and come back."""

import asyncio
import os
import random
import signal
from dataclasses import dataclass
from typing import Self

import aiohttp

from tests.chaos.deployment import Layout
from tests.chaos.faults import Excuse, Facts, Noticed, Scene, processor_ticks, prove, state_of, until_state
from tests.integration.workers.crew import Crew
from tests.integration.workers.knocking import knocking


@dataclass(frozen=True, slots=True)
class KillProcess:
    """kill -9; somebody starts it again after a while."""

    member: str
    back_after_s: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(ends_sessions=self.member.startswith("hub"))

    @classmethod
    def draw(cls, rng: random.Random, layout: Layout, role: str) -> Self:
        return cls(rng.choice(layout.of(role)), round(rng.uniform(0.2, 3.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        member = scene.deployment.members[self.member]
        process = member.running
        alive = state_of(process.pid)
        member.meant_to_be_dead = True
        await process.kill()
        status, after = process.child.returncode, state_of(process.pid)
        await asyncio.sleep(self.back_after_s)
        await scene.deployment.revive(self.member)

        prove(alive not in ("", "Z"), f"{self.member} was not alive: {alive!r}")
        prove(status == -signal.SIGKILL, f"{self.member} ended with {status}")
        prove(after == "", f"{self.member} is still there: {after!r}")
        return {"killed": process.pid, "exit_status": status, "successor": member.running.pid}


@dataclass(frozen=True, slots=True)
class PauseProcess:
    """SIGSTOP, and SIGCONT later: past the end of its lease it must not go on as if nothing had been."""

    member: str
    seconds: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True, ends_sessions=True)

    @classmethod
    def draw(cls, rng: random.Random, layout: Layout, role: str) -> Self:
        # Shorter than its lease (4 s), or longer.
        seconds = rng.uniform(1.0, 2.5) if rng.random() < 0.4 else rng.uniform(4.5, 7.0)
        return cls(rng.choice(layout.of(role)), round(seconds, 2))

    async def inject(self, scene: Scene) -> Facts:
        pid = scene.deployment.members[self.member].running.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            stopped = await until_state(pid, "T")
            before = processor_ticks(pid)
            await asyncio.sleep(self.seconds)
            still, used = state_of(pid), processor_ticks(pid) - before
        finally:
            os.kill(pid, signal.SIGCONT)
        awake = await until_state(pid, "RSD")

        prove(stopped == still == "T", f"{self.member} was in state {stopped!r}, then {still!r}")
        prove(used == 0, f"{self.member} used {used} ticks while it was stopped")
        prove(awake in ("R", "S", "D"), f"{self.member} did not go on: {awake!r}")
        return {"paused": pid, "state": still, "ticks_used": used, "state_after": awake}


@dataclass(frozen=True, slots=True)
class RollHubs:
    """SIGHUP to a supervisor: all its workers are replaced while somebody knocks at the door without end."""

    member: str

    @property
    def excuse(self) -> Excuse:
        # Nothing: that is the point of it.
        return Excuse()

    async def inject(self, scene: Scene) -> Facts:
        member = scene.deployment.members[self.member]
        async with aiohttp.ClientSession() as http:
            crew = Crew(member.running, http)
            before = await crew.pids()
            async with knocking(crew.url) as knocks:
                crew.hang_up()
                workers = await crew.until_rolled(before)
        after = [worker["pid"] for worker in workers]

        prove(not set(before) & set(after), f"not every worker was replaced: {before}, {after}")
        prove(all(state_of(pid) == "" for pid in before), "a worker of before is still there")
        prove(knocks.answered > 0, "nobody knocked")
        if knocks.failures:
            raise Noticed(f"{len(knocks.failures)} of {knocks.answered} at the door: {knocks.failures[:5]}")
        return {"workers": [before, after], "knocks": knocks.answered, "failures": 0}
