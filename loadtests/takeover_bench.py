"""How long a large pool stands still when its owner is killed, and how soon the next one knows all of it.

    python -m loadtests.takeover_bench [--waiting 100000] [--rounds 3]

Two matchmakers, each a process, and a Valkey of their own. So many men wait (`loadtests.matching_crowd`: 40 exclusions
each); then the owner is killed with SIGKILL at a random moment of its lease, while a woman comes every 20 ms. Counted from
the kill: until the next owner has the lease, has announced its first match, knows the whole pool; and its CPU time for
that, which a busy machine does not change much. Then another stands by for the next round.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import SystemClock
from base.ids import CallId, IdFactory, NodeId
from base.policy import Gender, IntentPolicy
from loadtests.hub.processes import cpu_seconds
from loadtests.matching_crowd import People
from matchmaker.lobby import Lobby
from matchmaker.matches import Match
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.ports import CallOutcome, CallStage
from matchmaker.spread import spread
from matchmaker.ticket import encode_ticket
from matchmaker.worker import run_matchmaker
from matchmaker.worker_ports import WorkerPorts
from minuet.embedded import EmbeddedValkey
from storage.redis.activities import RedisActivities
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues

POOL = "dating"
TAKEN, KNOWN, ANNOUNCED = "pool taken", "pool rebuilt", "announced"
STANDS_BY = "standing by"
_A_WOMAN_EVERY_S = 0.02
_PATIENCE_S = 60.0
_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Takeover:
    """One round; seconds since the kill."""

    taken_s: float
    matched_s: float
    known_s: float
    cpu_s: float

    def row(self) -> str:
        return f"| {self.taken_s:.2f} | {self.matched_s:.2f} | {self.known_s:.2f} | {self.cpu_s:.2f} |"


# --- a matchmaker ------------------------------------------------------------------------------------------------


class _SaysSo:
    async def announce(self, match: Match) -> None:
        print(ANNOUNCED, match.call_id, flush=True)


class _AreSetUp:
    async def stage(self, _call_id: CallId) -> CallOutcome:
        return CallOutcome(CallStage.SETTING_UP)


class _Lives:
    async def living(self) -> set[NodeId]:
        return {NodeId("node")}


class _IsWell:
    def restoring_ms(self) -> int:
        return 0

    async def look(self) -> None:
        pass

    async def settled(self) -> None:
        pass


async def serve(url: str, member: str) -> None:
    """A matchmaker, as `minuet matchmaker` runs one, whose calls last and whose nodes live."""
    redis, keys, policies = connect(url), Keys(), {POOL: IntentPolicy()}
    queues, activities, clock = RedisQueues(redis, keys), RedisActivities(redis, keys), SystemClock()
    metrics = MatchmakerMetrics(CollectorRegistry())
    ids = IdFactory(clock.wall_ms, random.randbytes)
    ports = WorkerPorts(
        queues=queues,
        activities=activities,
        calls=_AreSetUp(),
        announcer=_SaysSo(),
        nodes=_Lives(),
        lobby=Lobby(queues, activities, _AreSetUp(), ids, policies, metrics),
        ids=ids,
        clock=clock,
        metrics=metrics,
        health=_IsWell(),
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await run_matchmaker(policies, ports, member=member)


# --- what is done to it ------------------------------------------------------------------------------------------


@dataclass
class Matchmaker:
    """A process, and when it first said what since it was last asked."""

    process: Process
    said: dict[str, float] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    cpu_s: float = 0.0
    """What it had used when it knew its pool."""
    _listening: "asyncio.Task[None] | None" = None

    @classmethod
    async def start(cls, url: str, member: str) -> "Matchmaker":
        module = "loadtests.takeover_bench"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "--serve", url, member, stdout=PIPE, limit=_LINE_BYTES
        )
        matchmaker = cls(process)
        matchmaker._listening = asyncio.create_task(matchmaker._listen())
        return matchmaker

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            for what in (TAKEN, KNOWN, ANNOUNCED, STANDS_BY):
                if what.encode() in line:
                    if what == KNOWN:
                        self.cpu_s = cpu_seconds(self.process.pid)
                    self.said.setdefault(what, time.monotonic())
                    self.heard.set()

    async def says(self, what: str) -> float:
        """When it did; waits until it does."""
        async with asyncio.timeout(_PATIENCE_S):
            while what not in self.said:
                self.heard.clear()
                await self.heard.wait()
        return self.said[what]

    async def kill(self) -> None:
        """At once, without a word."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def fill(redis: Redis, people: People, count: int) -> None:
    """So many men wait."""
    keys, now_ms = Keys(), SystemClock().wall_ms()
    for start in range(0, count, 500):
        men = [
            people.ticket(Gender.MALE, now_ms - count + number)
            for number in range(start, min(start + 500, count))
        ]
        stored = {man.ticket_id: b"w|male||" + encode_ticket(man) for man in men}
        await redis.hset(keys.tickets(POOL), mapping=stored)  # type: ignore[arg-type]  # bytes are fine
    await redis.hset(keys.pool_counts(POOL), "male:w", str(count))


async def come(redis: Redis, people: People) -> None:
    """Women who come until cancelled."""
    queues, clock = RedisQueues(redis, Keys()), SystemClock()
    while True:
        await queues.put(people.ticket(Gender.FEMALE, clock.wall_ms()))
        await asyncio.sleep(_A_WOMAN_EVERY_S)


def members(count: int) -> list[str]:
    """Names of matchmakers; each is the one to serve the pool as long as there are only those before it."""
    names: list[str] = []
    numbers = iter(range(10_000))
    while len(names) < count:
        name = f"matchmaker-{next(numbers)}"
        if spread({POOL: [*names, name]}) == {POOL: name}:
            names.append(name)
    return names


async def measure(waiting: int, rounds: int, seed: int = 1) -> list[Takeover]:
    """One takeover after the other."""
    chance, people, found = random.Random(seed), People(seed), []
    with TemporaryDirectory(prefix="minuet-bench-") as folder:
        async with EmbeddedValkey(Path(folder)) as valkey:
            redis = connect(valkey.url)
            await fill(redis, people, waiting)
            names = members(rounds + 1)
            owner = await Matchmaker.start(valkey.url, names.pop())
            await owner.says(KNOWN)
            coming = asyncio.create_task(come(redis, people))
            try:
                while names:
                    following = await Matchmaker.start(valkey.url, names.pop())
                    await following.says(STANDS_BY)
                    # So that both know of each other, and the lease is at any point between two renewals.
                    await asyncio.sleep(2 + chance.random())
                    await owner.kill()
                    killed, used_s = time.monotonic(), cpu_seconds(following.process.pid)
                    taken, matched, known = [
                        await following.says(what) - killed for what in (TAKEN, ANNOUNCED, KNOWN)
                    ]
                    found.append(Takeover(taken, matched, known, following.cpu_s - used_s))
                    owner = following
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
                await owner.kill()
                await redis.aclose()
    return found


def table(takeovers: Sequence[Takeover]) -> str:
    """The rounds as Markdown."""
    head = (
        "| the lease is had after, s | the first match after, s | all is known after, s | CPU s of the next owner |\n"
        "| --- | --- | --- | --- |"
    )
    return "\n".join([head, *(each.row() for each in takeovers)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=2, metavar=("URL", "MEMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(*options.serve))
        return
    print(f"{options.waiting:,} waiting:\n")
    print(table(asyncio.run(measure(options.waiting, options.rounds))))


if __name__ == "__main__":
    main()
