"""The servers that `relay_bench` compares: Minuet's whole hub, and relays as one writes them on other ground.

Each of the others does the same fair work: it checks the token's HMAC, writes presence in Redis when somebody comes, pairs people by
Redis lists, and passes on what one of a pair sends, decoded, numbered and encoded again. Nothing more; one of them also makes
the promises that Minuet makes to a client, an `ok` to each message and an outbox, to show what those cost anywhere. And one, in C,
does not even that much: it is the machine's limit.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

from loadtests.edge.server_process import ServerProcess
from loadtests.hub.processes import SERVER_CORE, running, running_part
from loadtests.hub.swarm import HANDSHAKE, Swarm
from loadtests.hub.talk import HubTalk, PeerTalk, PromisedTalk, SocketIoTalk, Talk
from loadtests.hub.world import Account, World

PEERS: Final = Path(__file__).parents[1] / "peers"
_COLLECTING_S: Final = 0.3


class Target(Protocol):
    """A server under test."""

    @property
    def name(self) -> str:
        """As in the table."""

    def missing(self) -> str | None:
        """Why it cannot run here; None where it can."""

    def versions(self) -> str:
        """What it is made of."""

    def running(self, world: World, keys: str) -> AbstractContextManager[ServerProcess]:
        """Starts it on its core, with keys of its own in Redis."""

    def swarm(self, *servers: ServerProcess) -> Swarm:
        """Nobody yet, who come to these by turns."""

    def talks(self, people: Sequence[Account], *, meets: bool) -> list[Talk]:
        """What each of them says. Women and men by turns."""

    def collect(self, server: ServerProcess) -> None:
        """Lets the server give back what is garbage, where it would only do so some time."""


@dataclass(frozen=True, slots=True)
class Hub:
    """Minuet as `minuet serve --all-in-one` runs it."""

    name: str = "Minuet's hub"

    def missing(self) -> str | None:
        return None

    def versions(self) -> str:
        return f"uvloop {version('uvloop')}, aiohttp {version('aiohttp')}"

    @contextmanager
    def running(self, world: World, keys: str) -> Iterator[ServerProcess]:
        environment = {**world.environment, "MINUET_REDIS_PREFIX": keys}
        with running_part("all", SERVER_CORE, environment) as server:
            yield server

    def swarm(self, *servers: ServerProcess) -> Swarm:
        return Swarm(*(server.port for server in servers))

    def talks(self, people: Sequence[Account], *, meets: bool) -> list[Talk]:
        return [HubTalk(account, meets=meets) for account in people]

    def collect(self, server: ServerProcess) -> None:
        pass  # CPython counts references


@dataclass(frozen=True, slots=True)
class Peer:
    """A relay of `loadtests/peers`, in Python."""

    name: str
    command: tuple[str, ...]
    talk: type[PeerTalk] = PeerTalk
    handshake: bytes = HANDSHAKE
    promises: bool = False
    """Whether it answers each message and keeps what it sends until it is acknowledged."""

    def missing(self) -> str | None:
        return None

    def versions(self) -> str:
        return f"aiohttp {version('aiohttp')}, redis-py {version('redis')}, orjson {version('orjson')}"

    @contextmanager
    def running(self, world: World, keys: str) -> Iterator[ServerProcess]:
        environment = {
            **os.environ,
            "BENCH_REDIS_URL": world.environment["MINUET_REDIS_URL"],
            "BENCH_SECRET": world.environment["MINUET_AUTH_SECRET"],
            "BENCH_PREFIX": keys,
            "BENCH_PROMISES": "1" if self.promises else "0",
            "NODE_ENV": "production",
        }
        with running(self.command, SERVER_CORE, environment) as server:
            yield server

    def swarm(self, *servers: ServerProcess) -> Swarm:
        return Swarm(*(server.port for server in servers), handshake=self.handshake)

    def talks(self, people: Sequence[Account], *, meets: bool) -> list[Talk]:
        return [self.talk(account, number % 2, meets=meets) for number, account in enumerate(people)]

    def collect(self, server: ServerProcess) -> None:
        pass  # CPython counts references, and C frees


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePeer(Peer):
    """A relay on Node."""

    package: str
    """Of npm, without which it does not run."""

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "Node is not installed"
        if not (PEERS / "node_modules" / self.package).is_dir():
            return "its packages are not installed: make bench-peers"
        return None

    def versions(self) -> str:
        about = json.loads((PEERS / "node_modules" / self.package / "package.json").read_text())
        return f"{self.package} {about['version']}, Node {_first_line('node', '--version')}"

    def collect(self, server: ServerProcess) -> None:
        os.kill(server.pid, signal.SIGUSR2)
        time.sleep(_COLLECTING_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPeer(Peer):
    """The machine's limit, compiled when it is first asked for."""

    source: Path

    def missing(self) -> str | None:
        if sys.platform != "linux":
            return "it needs Linux"
        return None if shutil.which("cc") else "there is no C compiler"

    def versions(self) -> str:
        return _first_line("cc", "--version")

    @contextmanager
    def running(self, world: World, keys: str) -> Iterator[ServerProcess]:
        program = Path(self.command[0])
        if not program.exists() or program.stat().st_mtime < self.source.stat().st_mtime:
            program.parent.mkdir(exist_ok=True)
            subprocess.run(["cc", "-std=gnu11", "-O2", "-o", str(program), str(self.source)], check=True)
        with running(self.command, SERVER_CORE, {}) as server:
            yield server


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _node(name: str) -> tuple[str, ...]:
    return ("node", "--expose-gc", str(PEERS / name))


_SOCKET_IO: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HUB: Final = Hub()
_AIOHTTP: Final = (sys.executable, "-m", "loadtests.peers.aiohttp_server")
AIOHTTP: Final = Peer("aiohttp + orjson", _AIOHTTP)
AIOHTTP_OK: Final = Peer("the same with ok and outbox", _AIOHTTP, PromisedTalk, promises=True)
WS: Final = NodePeer("Node ws + Redis", _node("ws_server.mjs"), package="ws")
SOCKET_IO: Final = NodePeer(
    "Socket.IO + Redis", _node("socketio_server.mjs"), SocketIoTalk, _SOCKET_IO, package="socket.io"
)
C: Final = CompiledPeer(
    "C, no checks", (str(PEERS / "build" / "epoll_relay"),), source=PEERS / "epoll_relay.c"
)
ALL: Final[dict[str, Target]] = {
    "hub": HUB,
    "aiohttp": AIOHTTP,
    "aiohttp-ok": AIOHTTP_OK,
    "ws": WS,
    "socket.io": SOCKET_IO,
    "c": C,
}


def chosen(names: str, known: Mapping[str, Target]) -> list[Target]:
    """The targets of these names that can run here; says which cannot. Raises: SystemExit for an unknown name."""
    targets: list[Target] = []
    for name in names.split(","):
        if name not in known:
            raise SystemExit(f"no target {name!r}; there are {', '.join(known)}")
        missing = known[name].missing()
        if missing is None:
            targets.append(known[name])
        else:
            print(f"{known[name].name} is left out: {missing}", file=sys.stderr)
    return targets
