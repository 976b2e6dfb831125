"""The worker's end of the pipe from its supervisor: what it is told, and that the supervisor still lives.

The pipe is the worker's standard input. One line is one order; its end means that the supervisor is gone, and the worker
leaves in good order too, on every system and however the supervisor ended.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

logger = structlog.get_logger(__name__)

MIND = b"mind"
LEAVE = b"leave"
LEAVING = "leaving"
"""What the worker says of itself, on its standard output."""


class Doorkeeper(Protocol):
    """What accepts connections in this process."""

    async def accept_on(self, number: int, door: socket.socket) -> None:
        """Also accepts what comes to this listening socket."""
        ...

    async def leave(self, number: int) -> None:
        """Leaves that socket to others again."""
        ...


@dataclass(frozen=True, slots=True)
class Post:
    """A worker's place under a supervisor: its number, and the listening sockets of all, by number."""

    number: int
    doors: tuple[socket.socket, ...]

    @classmethod
    def parse(cls, text: str) -> "Post":
        """From `<number>:<descriptor>,<descriptor>...`. Raises: ValueError, OSError."""
        number, _, descriptors = text.partition(":")
        return cls(int(number), tuple(socket.socket(fileno=int(part)) for part in descriptors.split(",")))

    @staticmethod
    def describe(number: int, doors: list[socket.socket]) -> str:
        """The text that `parse` reads, in a process that inherits the descriptors."""
        return f"{number}:{','.join(str(door.fileno()) for door in doors)}"

    @property
    def own_door(self) -> socket.socket:
        return self.doors[self.number]

    def leave(self) -> None:
        """Tells the supervisor that nobody is let in here any more, and lets go of all doors.

        Mostly the supervisor asked for it. Where somebody else did, another worker has to open from now on.
        """
        # Nobody reads it where the supervisor is gone.
        with suppress(OSError):
            print(LEAVING, flush=True)
        for door in self.doors:
            door.close()

    async def follow_orders(self, keeper: Doorkeeper, gone: Callable[[], None]) -> None:
        """Does what the supervisor says until cancelled; calls `gone` once it has ended."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
        )
        try:
            while line := await reader.readline():
                order, _, number = line.strip().partition(b" ")
                if order == MIND:
                    await keeper.accept_on(int(number), self.doors[int(number)])
                elif order == LEAVE:
                    await keeper.leave(int(number))
            logger.warning("the supervisor is gone")
            gone()
            await asyncio.Event().wait()
        finally:
            transport.close()
