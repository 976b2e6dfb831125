"""Owners of a pool that die or freeze while people come, are matched, fail and return: nobody is lost or doubled."""

import asyncio
import random
import signal
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from base.ids import CallId, UserId
from matchmaker.matches import Match
from matchmaker.ports import StoredTicket, TicketState
from tests.fixtures.waiting import until
from tests.integration.matchmaker.processes import (
    announced,
    beside_a_fit,
    fail_some_calls,
    first_word_of,
    matchmaker_process,
)
from tests.integration.matchmaker.scene import Scene

PEOPLE = 200
LOOK_S = 0.01


class Crowd:
    """People who join one after the other, and hubs that fail a share of the calls; all of it is written down."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)
        self.joined: dict[UserId, int] = {}
        self.failed: dict[CallId, Match] = {}
        self.over = asyncio.Event()

    async def arrive(self) -> None:
        for number in range(PEOPLE):
            joined = await self.scene.join(f"user-{number}")
            self.joined[joined.ticket.user_id] = joined.queued_at
            await asyncio.sleep(0.006)

    async def fail_some_calls(self) -> None:
        await fail_some_calls(self.scene, self.random, self.failed, self.over)


@asynccontextmanager
async def two_matchmakers(scene: Scene, url: str, logs: Path) -> AsyncIterator[tuple[Process, Process]]:
    """The first owns the pool, the second stands by."""
    async with matchmaker_process(url, "first", logs / "first") as first:
        await until(lambda: scene.redis.exists(scene.keys.pool_owner("friends")), timeout_s=30)
        async with matchmaker_process(url, "second", logs / "second") as second:
            # A process that is still starting cannot take anything over: its start is not what is measured.
            await until(lambda: "standing by" in (logs / "second").read_text(), timeout_s=30)
            yield first, second


class Lateness:
    """How much later than asked for this process is woken, in all: what other work on the machine costs everybody."""

    def __init__(self) -> None:
        self.total_s = 0.0

    async def _watch(self) -> None:
        while True:
            due_at = time.monotonic() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.total_s += max(0.0, time.monotonic() - due_at)

    @asynccontextmanager
    async def measured(self) -> AsyncIterator["Lateness"]:
        watching = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            watching.cancel()


async def check(crowd: Crowd) -> None:
    """Everybody is where they should be: matched once, or waiting at their place."""
    scene = crowd.scene
    stored: dict[UserId, StoredTicket] = {
        each.ticket.user_id: each for each in await scene.queues.scan("friends")
    }
    records = {record.match.call_id: record.match for record in await scene.queues.matches("friends")}
    said = {match.call_id: match for _, match in await announced(scene)}
    seats = Counter(side.user_id for match in records.values() for side in (match.a, match.b))

    assert set(stored) == set(crowd.joined), "no ticket is lost"
    assert {user: each.ticket.queued_at for user, each in stored.items()} == crowd.joined, (
        "every place is kept"
    )
    assert all(count == 1 for count in seats.values()), "nobody is matched twice"
    assert set(seats) == {user for user, each in stored.items() if each.state is TicketState.MATCHED}
    assert set(records) == set(said) - set(crowd.failed), "every match was announced, and only matches"
    assert len(records) == len({frozenset((m.a.user_id, m.b.user_id)) for m in records.values()})
    for match in records.values():
        pair = {match.a.user_id, match.b.user_id}
        assert all({failed.a.user_id, failed.b.user_id} != pair for failed in crowd.failed.values())
        assert (match.a.queued_at, match.a.ticket_id) < (match.b.queued_at, match.b.ticket_id)
    assert not beside_a_fit(stored.values()), "nobody waits beside a fit"


async def come_to_rest(crowd: Crowd, hubs: asyncio.Task[None]) -> None:
    """No more calls fail, and then the owner has paired and announced all there is.

    Only what stands still can be checked: tickets and matches are read one after the other.
    """
    crowd.over.set()
    await hubs
    await until(lambda: at_rest(crowd.scene), timeout_s=60)


async def at_rest(scene: Scene) -> bool:
    stored = await scene.queues.scan("friends")
    records = {record.match.call_id for record in await scene.queues.matches("friends")}
    return not beside_a_fit(stored) and records <= {match.call_id for _, match in await announced(scene)}


async def test_a_killed_owner_is_followed_within_three_seconds_and_nobody_is_lost(
    scene: Scene, redis_url: str, tmp_path: Path
) -> None:
    """kill -9 in the middle of the crowd; the standby goes on where the pool stands."""
    crowd = Crowd(scene, seed=7)
    async with two_matchmakers(scene, redis_url, tmp_path) as (first, _):
        hubs = asyncio.create_task(crowd.fail_some_calls())
        arriving = asyncio.create_task(crowd.arrive())
        await until(lambda: len(crowd.joined) > PEOPLE // 3, timeout_s=60)
        await first_word_of(scene, "first")
        first.kill()
        killed_at = time.monotonic()
        async with Lateness().measured() as late:
            took_s = await first_word_of(scene, "second") - killed_at
        await arriving
        await come_to_rest(crowd, hubs)

        assert {name for name, _ in await announced(scene)} == {"first", "second"}
        # As long as this process was kept waiting by other work on the machine, the two others were, too.
        assert took_s < 3.0 + 2 * late.total_s
        assert crowd.failed
        await check(crowd)


async def test_an_owner_that_was_frozen_claims_nothing_when_it_wakes(
    scene: Scene, redis_url: str, tmp_path: Path
) -> None:
    """SIGSTOP past its lease, then SIGCONT: its token is old, and it stands by."""
    crowd = Crowd(scene, seed=11)
    async with two_matchmakers(scene, redis_url, tmp_path) as (first, second):
        hubs = asyncio.create_task(crowd.fail_some_calls())
        arriving = asyncio.create_task(crowd.arrive())
        await until(lambda: len(crowd.joined) > PEOPLE // 3, timeout_s=60)
        first.send_signal(signal.SIGSTOP)
        await first_word_of(scene, "second")
        first.send_signal(signal.SIGCONT)
        await arriving
        await come_to_rest(crowd, hubs)
        await check(crowd)

        assert first.returncode is None
        second.kill()
        await second.wait()
        owner = scene.keys.pool_owner("friends")
        await until(lambda: scene.redis.exists(owner), timeout_s=30)
        await scene.join("late-1")
        await scene.join("late-2")
        await until(lambda: says(scene, "first", UserId("late-2")), timeout_s=30)


@pytest.mark.parametrize("seed", [1, 2])
async def test_owners_that_are_killed_one_after_the_other_lose_nobody(
    scene: Scene, redis_url: str, tmp_path: Path, seed: int
) -> None:
    """Each dies at a random moment, with claims and announcements under way; the last one finishes."""
    crowd = Crowd(scene, seed)
    hubs = asyncio.create_task(crowd.fail_some_calls())
    arriving = asyncio.create_task(crowd.arrive())
    log = tmp_path / "log"
    for round_ in range(3):
        async with matchmaker_process(redis_url, f"owner-{round_}", log):
            await until(lambda: "pool rebuilt" in log.read_text(), timeout_s=30)
            await asyncio.sleep(crowd.random.uniform(0, 0.3))
        await scene.redis.delete(scene.keys.pool_owner("friends"))  # a standby waits less than a test may
        await scene.join(f"extra-{seed}-{round_}")
    await arriving
    async with matchmaker_process(redis_url, "last", log):
        await come_to_rest(crowd, hubs)
    for each in await scene.queues.scan("friends"):
        if each.ticket.user_id.startswith("extra"):
            crowd.joined[each.ticket.user_id] = each.ticket.queued_at

    await check(crowd)


async def says(scene: Scene, name: str, user_id: UserId) -> bool:
    return any(
        who == name and user_id in (match.a.user_id, match.b.user_id) for who, match in await announced(scene)
    )
