"""A `minuet serve --workers` as an operator sees it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.fixtures.deployment import Process

TIMEOUT_S = 60.0


@dataclass
class Crew:
    """A supervisor and its workers."""

    process: Process
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.process.public

    async def workers(self) -> list[dict[str, Any]]:
        async with self.http.get(f"{self.process.admin}/workers") as response:
            data: list[dict[str, Any]] = (await response.json())["data"]
            return data

    async def pids(self) -> list[int]:
        return [worker["pid"] for worker in await self.workers()]

    async def readiness(self, query: str = "") -> tuple[int, dict[str, Any]]:
        async with self.http.get(f"{self.process.admin}/readyz{query}") as response:
            return response.status, await response.json()

    async def metrics(self) -> str:
        async with self.http.get(f"{self.process.admin}/metrics") as response:
            return await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        total = 0.0
        for line in (await self.metrics()).splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{key}="{text}"' in head for key, text in labels.items()):
                total += float(value)
        return total

    async def until(self, fits: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Waits until the workers are as wanted."""
        async with asyncio.timeout(TIMEOUT_S):
            while not fits(workers := await self.workers()):
                await asyncio.sleep(0.05)
        return workers

    async def until_rolled(self, before: list[int]) -> list[dict[str, Any]]:
        """Waits until none of these processes is left, as a worker or on its way out."""
        after = await self.until(
            lambda workers: all(w["state"] == "serving" and w["pid"] not in before for w in workers)
        )
        await gone(*before)
        return after

    def hang_up(self) -> None:
        """SIGHUP: replace all workers."""
        self.process.child.send_signal(signal.SIGHUP)


async def gone(*pids: int) -> None:
    """Waits until these processes have ended."""
    async with asyncio.timeout(TIMEOUT_S):
        for pid in pids:
            with suppress(ProcessLookupError):
                while True:
                    os.kill(pid, 0)
                    await asyncio.sleep(0.05)


CrewOf = Callable[..., Awaitable[Crew]]
