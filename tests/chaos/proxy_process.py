"""The proxy of `proxy.py` as a child of the run, and what the run asks of it."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests.chaos.proxy import LOOPBACK, Counters, Direction

BOTH: tuple[Direction, Direction] = ("up", "down")
Target = tuple[str, int]

ANSWER_S = 60.0
STOP_S = 30.0


class ProxyFailed(Exception):
    """The proxy did not do what it was told; a fault of the run, not of what is tested."""


class ProxyProcess:
    """A proxy in a process of its own; its links end with it.

    Raises: ProxyFailed, from every method.
    """

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.proxy",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        child = self._child
        if child is None or child.stdin is None:
            return
        # The end of its input is its word to leave.
        child.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def open(self, name: str, targets: Sequence[Target]) -> "LinkHandle":
        """A new link to these targets, listening on a free port."""
        answer = await self.ask(name, "open", targets=list(targets))
        return LinkHandle(self, name, answer["port"])

    async def ask(self, link: str, verb: str, **arguments: Any) -> dict[str, Any]:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise ProxyFailed("was not started")
        async with self._turn:
            child.stdin.write(json.dumps({"link": link, "do": verb, **arguments}).encode() + b"\n")
            try:
                async with asyncio.timeout(ANSWER_S):
                    line = await child.stdout.readline()
            except TimeoutError:
                raise ProxyFailed(f"no answer to {verb} on {link}") from None
        if not line:
            raise ProxyFailed(f"ended, status {child.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProxyFailed(f"{verb} on {link}: {answer['error']}")
        return answer


@dataclass(frozen=True, slots=True)
class LinkHandle:
    """One link of a proxy."""

    proxy: ProxyProcess
    name: str
    port: int

    @property
    def address(self) -> Target:
        """Where it listens."""
        return (LOOPBACK, self.port)

    async def targets(self, targets: Sequence[Target]) -> None:
        """Where connections go from now on; open ones stay where they are."""
        await self.proxy.ask(self.name, "targets", targets=list(targets))

    async def stall(self, directions: Sequence[Direction] = BOTH) -> None:
        """Nothing moves in these directions until `flow`; connections made meanwhile wait."""
        await self.proxy.ask(self.name, "stall", directions=list(directions))

    async def flow(self) -> None:
        """Ends a stall: what was held goes on, in order."""
        await self.proxy.ask(self.name, "stall", directions=[])

    async def delay(self, delay_s: float) -> None:
        """Every byte moves so much later; 0 ends it."""
        await self.proxy.ask(self.name, "delay", delay_s=delay_s)

    async def cut(self, after: int | None) -> None:
        """Each connection is reset after so many more bytes of one direction; None ends it."""
        await self.proxy.ask(self.name, "cut", after=after)

    async def reset(self) -> int:
        """Resets every open connection; the number of them."""
        count: int = (await self.proxy.ask(self.name, "reset"))["count"]
        return count

    async def refuse(self) -> None:
        """New connections are refused by the system until `accept`; open ones stay."""
        await self.proxy.ask(self.name, "refuse")

    async def accept(self) -> None:
        await self.proxy.ask(self.name, "accept")

    async def count(self) -> Counters:
        """What happened on the link so far."""
        return Counters(**await self.proxy.ask(self.name, "count"))
