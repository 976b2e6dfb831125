"""Several pools and several matchmaker processes under load, which are killed, frozen and replaced."""

import asyncio
import random
import signal
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from base.ids import CallId, UserId
from matchmaker.matches import Match
from matchmaker.ports import TicketState
from matchmaker.roster import MEMBER_MS
from tests.fixtures.waiting import until
from tests.integration.matchmaker.processes import (
    announced,
    beside_a_fit,
    fail_some_calls,
    first_word_of,
    matchmaker_process,
)
from tests.integration.matchmaker.scene import Scene

POOLS = ("arts", "books", "chess", "dance")
PEOPLE = 300


class Fleet:
    """Matchmakers by name, and what Redis says about which of them owns what."""

    def __init__(self, scene: Scene, url: str, logs: Path, stack: AsyncExitStack) -> None:
        self.scene, self.url, self.logs, self.stack = scene, url, logs, stack
        self.processes: dict[str, Process] = {}

    async def start(self, name: str) -> Process:
        process = await self.stack.enter_async_context(
            matchmaker_process(self.url, name, self.logs / name, *POOLS)
        )
        self.processes[name] = process
        return process

    async def owners(self) -> dict[str, str]:
        """The owner's name by pool, of those that have one."""
        found = {}
        for pool in POOLS:
            token = await self.scene.redis.get(self.scene.keys.pool_owner(pool))
            if token is not None:
                found[pool] = token.decode().split("-", 1)[1].split(".")[0]
        return found

    async def is_spread_over(self, *names: str) -> bool:
        owners = await self.owners()
        loads = Counter(owners.values())
        most = -(-len(POOLS) // len(names))
        return set(owners) == set(POOLS) and set(loads) == set(names) and max(loads.values()) <= most

    def log(self, name: str) -> str:
        return (self.logs / name).read_text()


@pytest.fixture
async def fleet(scene: Scene, redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    scene.policies.update(dict.fromkeys(POOLS, scene.policies["friends"]))
    async with AsyncExitStack() as stack:
        yield Fleet(scene, redis_url, tmp_path, stack)


class Crowds:
    """People who join any of the pools, and hubs that fail a share of the calls; all of it is written down."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)
        self.joined: dict[str, dict[UserId, int]] = {pool: {} for pool in POOLS}
        self.failed: dict[CallId, Match] = {}
        self.enough = asyncio.Event()
        self.stop_failing = asyncio.Event()

    @property
    def came(self) -> int:
        return sum(len(people) for people in self.joined.values())

    async def arrive(self, every_s: float) -> None:
        """One after the other, at least so many, until what is tested is over."""
        for number in count():
            if self.enough.is_set() and number >= PEOPLE:
                return
            pool = self.random.choice(POOLS)
            joined = await self.scene.join(f"user-{number}", intent=pool)
            self.joined[pool][joined.ticket.user_id] = joined.queued_at
            await asyncio.sleep(every_s)

    async def fail_some_calls(self) -> None:
        await fail_some_calls(self.scene, self.random, self.failed, self.stop_failing)

    async def come_to_rest(self, hubs: asyncio.Task[None]) -> None:
        self.stop_failing.set()
        await hubs
        await until(self._is_at_rest, timeout_s=90)

    async def _is_at_rest(self) -> bool:
        said = {match.call_id for _, match in await announced(self.scene)}
        for pool in POOLS:
            if beside_a_fit(await self.scene.queues.scan(pool)):
                return False
            if not {record.match.call_id for record in await self.scene.queues.matches(pool)} <= said:
                return False
        return True

    async def check(self) -> None:
        """Everybody is where they should be: matched once, in their pool, or waiting at their place."""
        said = {match.call_id: match for _, match in await announced(self.scene)}
        standing: set[CallId] = set()
        for pool in POOLS:
            stored = {each.ticket.user_id: each for each in await self.scene.queues.scan(pool)}
            matches = [record.match for record in await self.scene.queues.matches(pool)]
            seats = Counter(side.user_id for match in matches for side in (match.a, match.b))
            places = {user: each.ticket.queued_at for user, each in stored.items()}
            matched = {user for user, each in stored.items() if each.state is TicketState.MATCHED}
            standing |= {match.call_id for match in matches}

            assert places == self.joined[pool], "no ticket is lost, and every place is kept"
            assert set(seats.values()) <= {1}, "nobody is matched twice"
            assert set(seats) == matched
            assert all(match.intent == pool for match in matches)
            assert all(
                (match.a.queued_at, match.a.ticket_id) < (match.b.queued_at, match.b.ticket_id)
                for match in matches
            )
            assert not beside_a_fit(stored.values()), "nobody waits beside a fit"
        assert standing == set(said) - set(self.failed), "every match was announced, and only matches"


def is_frozen(process: Process) -> bool:
    """As the kernel says."""
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@asynccontextmanager
async def crowds(scene: Scene, seed: int, every_s: float) -> AsyncIterator[Crowds]:
    """People come in the background; at the end all came, and everything is at rest and in order."""
    people = Crowds(scene, seed)
    hubs = asyncio.create_task(people.fail_some_calls())
    arriving = asyncio.create_task(people.arrive(every_s))
    try:
        yield people
        people.enough.set()
        await arriving
        await people.come_to_rest(hubs)
        await people.check()
    finally:
        for task in (hubs, arriving):
            task.cancel()
        await asyncio.gather(hubs, arriving, return_exceptions=True)


async def test_pools_are_spread_over_those_who_stand_by_and_come_back_together(fleet: Fleet) -> None:
    """One has all; a second gets half of them; when it ends, the first has all again. Nobody notices."""
    await fleet.start("one")
    await until(lambda: fleet.is_spread_over("one"), timeout_s=30)
    async with crowds(fleet.scene, seed=3, every_s=0.03) as people:
        two = await fleet.start("two")
        await until(lambda: fleet.is_spread_over("one", "two"), timeout_s=30)
        # It writes a moment after the other could take the pool.
        await until(lambda: "pool given up" in fleet.log("one"))
        await first_word_of(fleet.scene, "two")
        two.terminate()
        await two.wait()
        await until(lambda: fleet.is_spread_over("one"), timeout_s=30)

    assert {name for name, _ in await announced(fleet.scene)} == {"one", "two"}
    assert people.failed


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the state of processes from /proc")
async def test_owners_that_are_killed_and_frozen_under_load_lose_and_double_nobody(fleet: Fleet) -> None:
    """kill -9 for one, SIGSTOP past its leases for another, a newcomer for both: four pools, three processes."""
    for name in ("one", "two", "three"):
        await fleet.start(name)
    await until(lambda: fleet.is_spread_over("one", "two", "three"), timeout_s=60)
    async with crowds(fleet.scene, seed=5, every_s=0.03) as people:
        await until(lambda: people.came > PEOPLE // 8, timeout_s=60)

        killed, killed_pools = "one", await owned_by(fleet, "one")
        fleet.processes[killed].send_signal(signal.SIGKILL)
        assert await fleet.processes[killed].wait() == -signal.SIGKILL
        await until(lambda: nobody_is_left_to(fleet, killed), timeout_s=30)

        frozen, frozen_pools = "two", await owned_by(fleet, "two")
        fleet.processes[frozen].send_signal(signal.SIGSTOP)
        await until(lambda: is_frozen(fleet.processes[frozen]))
        await until(lambda: nobody_is_left_to(fleet, frozen), timeout_s=30)
        await fleet.start("four")
        await until(lambda: fleet.is_spread_over("three", "four"), timeout_s=60)
        fleet.processes[frozen].send_signal(signal.SIGCONT)
        await until(lambda: fleet.is_spread_over("two", "three", "four"), timeout_s=60)
        # The first that it hears may be that its pool is another's, or that what it asked the store took too long.
        await until(lambda: any(why in fleet.log(frozen) for why in ("pool lost", "pool unavailable")))

    assert killed_pools
    assert frozen_pools
    assert fleet.processes[frozen].returncode is None
    assert {name for name, _ in await announced(fleet.scene)} >= {"two", "three", "four"}
    assert people.failed


async def test_whoever_stops_answering_is_forgotten(fleet: Fleet) -> None:
    """A frozen matchmaker is no member any more, so that its pools are others' for good."""
    await fleet.start("one")
    two = await fleet.start("two")
    await until(lambda: fleet.is_spread_over("one", "two"), timeout_s=60)
    two.send_signal(signal.SIGSTOP)
    await until(lambda: fleet.is_spread_over("one"), timeout_s=30)
    await asyncio.sleep(MEMBER_MS / 1000)

    async def is_alone() -> bool:
        return await fleet.scene.queues.enrol("asking", (), ttl_ms=0) == {pool: {"one"} for pool in POOLS}

    await until(is_alone)


async def owned_by(fleet: Fleet, name: str) -> set[str]:
    return {pool for pool, owner in (await fleet.owners()).items() if owner == name}


async def nobody_is_left_to(fleet: Fleet, name: str) -> bool:
    owners = await fleet.owners()
    return set(owners) == set(POOLS) and name not in owners.values()
