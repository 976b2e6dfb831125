"""One worker process, as its supervisor sees it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from minuet.supervisor.lifeline import LEAVE, LEAVING, MIND, Post
from minuet.supervisor.policy import Silence

KILL_AFTER_S: Final = 28.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How workers are started: their arguments, and the doors that all of them inherit."""

    arguments: Sequence[str]
    doors: list[socket.socket]


class Worker:
    """A child that serves one slot. `serving` is set once it has said where its admin port is."""

    def __init__(self, number: int, child: asyncio.subprocess.Process, started_at: int) -> None:
        self.number = number
        self.started_at = started_at
        self.served_at: int | None = None
        self.silence: Silence | None = None
        """Counted from when it serves."""
        self.admin = ""
        self.serving = asyncio.Event()
        self.is_leaving = False
        """Whether it was asked to end: its end is no death then."""
        self.has_left = False
        """Whether it lets nobody in any more, whoever asked it to."""
        self._child = child

    @classmethod
    async def start(cls, number: int, recipe: Recipe, now_ms: int) -> "Worker":
        """Raises: OSError."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "minuet",
            *recipe.arguments,
            "--post",
            Post.describe(number, recipe.doors),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[door.fileno() for door in recipe.doors],
            # A Ctrl-C or the end of a terminal is for the supervisor alone to pass on.
            start_new_session=True,
        )
        return cls(number, child, now_ms)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_serving(self) -> bool:
        return self.serving.is_set() and not self.is_leaving and self._child.returncode is None

    @property
    def opens(self) -> bool:
        """Whether whoever comes to its door is let in."""
        is_silent = self.silence is not None and self.silence.is_long
        return self.is_serving and not self.has_left and not is_silent

    async def listen(self, left: Callable[[], None]) -> None:
        """Reads what it prints until it ends; calls `left` when it lets nobody in any more."""
        out = self._child.stdout
        while out is not None and (line := await out.readline()):
            name, _, address = line.decode(errors="replace").strip().partition(" ")
            if name == "admin":
                self.admin = address
                self.serving.set()
            elif name == LEAVING:
                self.has_left = True
                left()

    async def ended(self) -> int:
        """Its exit status, once it has one; that of a signal is negative."""
        return await self._child.wait()

    async def serves(self, timeout_s: float) -> bool:
        """Whether it came to serve in time, and did not end before."""
        waits = [asyncio.ensure_future(self.serving.wait()), asyncio.ensure_future(self._child.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self.serving.is_set() and self._child.returncode is None

    def mind(self, door: int) -> None:
        """Has it accept what comes to another's door, too."""
        self._tell(MIND, door)

    def leave(self, door: int) -> None:
        """Has it leave that door to others again."""
        self._tell(LEAVE, door)

    async def dismiss(self) -> None:
        """SIGTERM, which drains it; kill -9 where it does not end."""
        self.is_leaving = True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(KILL_AFTER_S):
                await self._child.wait()
        except TimeoutError:
            self.kill()
            await self._child.wait()

    def kill(self) -> None:
        """As one that was asked to end."""
        self.is_leaving = True
        self._signal(signal.SIGKILL)

    def put_down(self) -> None:
        """kill -9 of one that is of no use: a death like any other."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _tell(self, order: bytes, door: int) -> None:
        if self._child.stdin is not None and self._child.returncode is None:
            # A worker that has just died hears nothing more; what it minded is given to another.
            with suppress(OSError, RuntimeError):
                self._child.stdin.write(b"%s %d\n" % (order, door))
