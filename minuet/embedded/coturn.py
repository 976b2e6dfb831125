"""coturn as a child, for `minuet dev` and for tests: which program, which configuration, when it is ready.

On loopback alone, and with relays to loopback alone: both people of a call sit on this machine. That is the one thing
which no server on a network may do (`allow-loopback-peers`); `deploy/coturn/` has the configuration for those.
"""

import asyncio
import os
import re
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.ports import TurnUnavailable
from minuet.embedded.binaries import on_path
from minuet.embedded.errors import EmbeddedServerError, ServerNotFound
from minuet.embedded.runner import Child, Command
from minuet.embedded.server import LOOPBACK, PORTS, EmbeddedServer, free_port
from storage.coturn import CoturnAdmin

FLOOR: Final = (4, 5)
ADVICE: Final = "install coturn (Debian, Ubuntu: apt install coturn; macOS: brew install coturn)"
RELAY_PORTS: Final = 200
_VERSION = re.compile(r"^(?:Coturn-)?(\d+)\.(\d+)\.\d+", re.MULTILINE)
_CONFIGURATION: Final = "turnserver.conf"


@dataclass(frozen=True, slots=True)
class TurnAccess:
    """How to use a TURN server, as the settings say it."""

    urls: tuple[str, ...]
    secret: str
    relay_addresses: tuple[str, ...]
    relay_ports: str
    admin: tuple[str, ...]
    admin_password: str


class EmbeddedCoturn(EmbeddedServer):
    """coturn on 127.0.0.1, UDP, with a secret and an admin password that are new with each start.

    `further` are lines of configuration that come last, for tests.
    """

    name = "coturn"
    stop_steps = ((signal.SIGTERM, 5.0),)
    busy_port = "Address already in use"

    def __init__(
        self, state_dir: Path, *, port: int = 0, kernel_guard: bool = True, further: tuple[str, ...] = ()
    ) -> None:
        super().__init__(state_dir, durable=False, port=port, kernel_guard=kernel_guard)
        self._further = further
        self._program: Path | None = None
        self._folder: Path | None = None
        self._secret = self._password = ""
        self._first_relay_port = self._admin_port = 0

    @property
    def access(self) -> TurnAccess:
        """How to use it, once it was started."""
        return TurnAccess(
            urls=(self.url,),
            secret=self._secret,
            relay_addresses=(LOOPBACK,),
            relay_ports=f"{self._first_relay_port}-{self._last_relay_port}",
            admin=(f"{LOOPBACK}:{self._admin_port}",),
            admin_password=self._password,
        )

    @property
    def admin(self) -> CoturnAdmin:
        return CoturnAdmin(LOOPBACK, self._admin_port, self._password)

    @property
    def _last_relay_port(self) -> int:
        return self._first_relay_port + RELAY_PORTS - 1

    async def _prepare(self) -> None:
        self._program = await asyncio.to_thread(find_coturn)
        self._secret, self._password = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        # It keeps nothing: what is in the folder is of an earlier run.
        self._folder = self._state.make_folder(self._state.data.name, self._state.run_as())

    def _command(self, port: int) -> Command:
        if self._program is None or self._folder is None:
            raise RuntimeError("coturn was not prepared")
        self._admin_port = free_port()
        self._first_relay_port = PORTS.start + secrets.randbelow(len(PORTS) - RELAY_PORTS)
        self._write(self._folder / _CONFIGURATION, "\n".join(self._configuration(port)))
        return Command((os.fspath(self._program), "-c", _CONFIGURATION), self._folder)

    def _configuration(self, port: int) -> list[str]:
        return [
            f"listening-ip={LOOPBACK}",
            f"relay-ip={LOOPBACK}",
            f"listening-port={port}",
            f"min-port={self._first_relay_port}",
            f"max-port={self._last_relay_port}",
            # Both people are on this machine. Never on a server.
            "allow-loopback-peers",
            f"allowed-peer-ip={LOOPBACK}",
            "denied-peer-ip=0.0.0.0-255.255.255.255",
            "use-auth-secret",
            f"static-auth-secret={self._secret}",
            "realm=minuet.dev",
            "fingerprint",
            "stale-nonce=600",
            "no-multicast-peers",
            "no-tcp",
            "no-tls",
            "no-dtls",
            "no-tcp-relay",
            f"cli-ip={LOOPBACK}",
            f"cli-port={self._admin_port}",
            f"cli-password={self._password}",
            "userdb=turndb",
            "pidfile=turnserver.pid",
            "log-file=stdout",
            "simple-log",
            *self._further,
            "",
        ]

    def _write(self, path: Path, text: str) -> None:
        """A private file of the server's. The folder may be its own, so nothing there is followed or kept."""
        path.unlink(missing_ok=True)
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w"
        ) as file:
            file.write(text)
            if (run_as := self._state.run_as()) is not None:
                os.fchown(file.fileno(), run_as.uid, run_as.gid)

    async def _ready(self, child: Child, port: int) -> bool:
        del port  # it listens there before it opens the admin interface
        try:
            # A stranger on the port would not take the password.
            await self.admin.ping()
        except TurnUnavailable:
            return False
        return True

    def _url(self, port: int) -> str:
        return f"turn:{LOOPBACK}:{port}?transport=udp"


@asynccontextmanager
async def coturn_if_there_is(state_dir: Path) -> AsyncIterator[TurnAccess | EmbeddedServerError]:
    """A coturn for the length of the block, or why there is none: calls connect without it, too."""
    server = EmbeddedCoturn(state_dir)
    try:
        await server.start()
    except EmbeddedServerError as error:
        yield error
        return
    try:
        yield server.access
    finally:
        await server.stop()


def find_coturn() -> Path:
    """The program. Raises: ServerNotFound where none is installed, or only an old one."""
    for path in on_path(("turnserver",), (Path("/usr/sbin"), Path("/opt/homebrew/bin"))):
        try:
            said = subprocess.run(  # noqa: S603 - a server that we are about to run anyway
                [path, "--version"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        found = _VERSION.search(said.stdout)
        if found is not None and (int(found[1]), int(found[2])) >= FLOOR:
            return path
    raise ServerNotFound(f"no coturn {FLOOR[0]}.{FLOOR[1]} or later found: {ADVICE}")
