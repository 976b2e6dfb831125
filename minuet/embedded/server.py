"""What every embedded server has in common: one life, from lock to lock.

A subclass says what its server is (`_prepare`, `_command`, `_ready`, `_url`); this class decides in which order things
happen, which port is taken, and that nothing stays behind when a step fails.
"""

import asyncio
import errno
import secrets
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from minuet.embedded.errors import ServerFailed
from minuet.embedded.runner import Child, Command
from minuet.embedded.state import ServerState

LOOPBACK = "127.0.0.1"
# Below every system's ephemeral range: a client that dials a dead port from that range can connect to itself.
PORTS = range(15_000, 30_000)
PORT_ATTEMPTS = 8
START_TIMEOUT_S = 60.0
RETRY_PAUSE_S = 0.1


class EmbeddedServer(ABC):
    """A real server as our child, keeping its data under `state_dir`.

    `port` 0 takes a free one. `durable` False trades safety of the data for speed, for tests. A server that was killed
    starts again with `start`, on the same port with the same data.
    """

    name: ClassVar[str]
    stop_steps: ClassVar[Sequence[tuple[signal.Signals, float]]]
    busy_port: ClassVar[str]
    """What the server's log says when its port is taken."""
    passing: ClassVar[str | None] = None
    """What the log says on a failure that passes by itself in a moment."""

    def __init__(
        self, state_dir: Path, *, durable: bool = True, port: int = 0, kernel_guard: bool = True
    ) -> None:
        self._state = ServerState(state_dir, self.name)
        self._durable = durable
        self._port = port
        self._kernel_guard = kernel_guard
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where clients connect, with the password."""
        if not self._port:
            raise RuntimeError(f"{self.name} was not started")
        return self._url(self._port)

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def log(self) -> Path:
        return self._state.log

    async def start(self) -> str:
        """Start the server, wait until it answers, and return its URL.

        Raises:
            EmbeddedServerError: see its subclasses; nothing is left running then.
        """
        if self.running:
            return self.url
        self._state.lock.acquire()
        try:
            await self._prepare()
            run_as = self._state.run_as()
            self._child = Child(self.name, self._state.log, run_as, kernel_guard=self._kernel_guard)
            await self._launch(self._child, time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            # Broad, and passed on: also whoever is cancelled leaves no server behind.
            await self.stop()
            raise
        return self.url

    async def stop(self) -> None:
        """Stop in good order, by force when that takes too long, and give up the folder."""
        try:
            if self._child is not None:
                await self._child.stop(self.stop_steps)
        finally:
            self._state.lock.release()

    async def kill(self) -> None:
        """SIGKILL, as a crash would have it. `start` brings the server back."""
        if self._child is not None:
            await self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers, until `resume`."""
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        if self._child is not None:
            self._child.resume()

    async def until_ended(self) -> ServerFailed:
        """Wait until the server ends by itself and say why; for whoever watches over it."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        await self._child.until_ended()
        return self._child.failed(f"ended with code {self._child.exit_code}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _launch(self, child: Child, deadline: float) -> None:
        attempts = 0
        while True:
            port = self._port or free_port()
            child.launch(self._command(port))
            try:
                await child.until_ready(partial(self._ready, child, port), deadline - time.monotonic())
            except ServerFailed as failure:
                attempts += 1
                transient = self.passing is not None and self.passing in failure.tail
                another = not self._port and self.busy_port in failure.tail and attempts < PORT_ATTEMPTS
                if time.monotonic() < deadline and (transient or another):
                    await asyncio.sleep(RETRY_PAUSE_S if transient else 0)
                    continue
                raise
            self._port = port
            return

    @abstractmethod
    async def _prepare(self) -> None:
        """Find the binary, make the data folder where it is missing."""

    @abstractmethod
    def _command(self, port: int) -> Command: ...

    @abstractmethod
    async def _ready(self, child: Child, port: int) -> bool:
        """Whether it serves; OSError and EOFError mean no."""

    @abstractmethod
    def _url(self, port: int) -> str: ...


def free_port() -> int:
    """A port nobody listens on now; somebody may before we do, so callers try again."""
    for _ in range(100):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {PORTS.start} and {PORTS.stop}")
