"""Matchmakers as processes of their own, what they say, and hubs that fail a share of the calls.

A process may be killed at any moment: what it announced is found in Redis, not in what it told this one.
"""

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import combinations
from pathlib import Path

from base.ids import CallId, UserId
from matchmaker.matches import SEATS, Match, decode_match
from matchmaker.ports import StoredTicket, TicketState
from tests.integration.matchmaker.matchmaker_process import ANNOUNCED
from tests.integration.matchmaker.scene import Scene

ROOT = Path(__file__).parents[3]


async def announced(scene: Scene) -> list[tuple[str, Match]]:
    """Who announced which match, in order."""
    said = [entry.split(b"|", 1) for entry in await scene.redis.lrange(ANNOUNCED, 0, -1)]
    return [(name.decode(), decode_match(match)) for name, match in said]


async def start(url: str, name: str, log: Path, *pools: str) -> Process:
    """A matchmaker process that writes its log there; of the pool `friends` unless others are named."""
    module = "tests.integration.matchmaker.matchmaker_process"
    with log.open("w") as out:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, url, name, *pools, cwd=ROOT, stdout=out, env={**os.environ}
        )


@asynccontextmanager
async def matchmaker_process(url: str, name: str, log: Path, *pools: str) -> AsyncIterator[Process]:
    """A matchmaker process that is gone when the block ends, however it ends."""
    process = await start(url, name, log, *pools)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def first_word_of(scene: Scene, name: str) -> float:
    """Waits until that process announces something; when it did."""
    async with asyncio.timeout(60):
        while not any(who == name for who, _ in await announced(scene)):
            await asyncio.sleep(0.01)
    return time.monotonic()


async def fail_some_calls(
    scene: Scene, chance: random.Random, failed: dict[CallId, Match], over: asyncio.Event
) -> None:
    """About one match in five comes to nothing: both go back. Those that did are written down in `failed`."""
    seen: set[CallId] = set()
    while not over.is_set():
        for _, match in await announced(scene):
            if match.call_id in seen:
                continue
            seen.add(match.call_id)
            for seat in SEATS:
                await scene.lobby.accept_match(match, seat)
            if chance.random() < 0.2:
                failed[match.call_id] = match
                for seat in SEATS:
                    assert await scene.lobby.release(match.ref(seat), returns=True)
        await asyncio.sleep(0.02)


def beside_a_fit(stored: Iterable[StoredTicket]) -> list[tuple[UserId, UserId]]:
    """Those who wait though they could meet, where all fit who have not met in vain."""
    waiting = [each.ticket for each in stored if each.state is TicketState.WAITING]
    return [
        (one.user_id, other.user_id)
        for one, other in combinations(waiting, 2)
        if other.user_id not in one.exclusions and one.user_id not in other.exclusions
    ]
