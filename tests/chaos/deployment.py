"""A whole deployment of a run's own, made to be broken: hubs, matchmakers, workers, Redis, PostgreSQL, and a proxy between.

    client -> front (balancer) -> hub-1, hub-2 ...          each process -> a link of its own -> Redis

Every process was started here and is ended here by its id. In front of a Redis Cluster there are no links: its nodes tell
clients where to go.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from redis.asyncio import Redis

from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.migrations import migrate
from tests.chaos.proxy import LOOPBACK
from tests.chaos.proxy_process import LinkHandle, ProxyProcess, Target
from tests.fixtures.cluster import Cluster
from tests.fixtures.deployment import SECRET, Process, environment_for, launch

FRONT = "front"
PREFIX = "chaos:"
# Not among the keys of Minuet: tells whether a Redis still has its data.
CANARY = "canary-of-the-run"


@dataclass(frozen=True, slots=True)
class Layout:
    """What runs."""

    hubs: int = 2
    matchmakers: int = 2
    workers: int = 2
    hub_workers: int = 0
    """So many processes in each hub, under a supervisor; 0: one process and no supervisor."""
    cluster: bool = False
    max_sessions: int = 300
    """Room in each hub."""
    config: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        counts = (("hub", self.hubs), ("matchmaker", self.matchmakers), ("worker", self.workers))
        return tuple(f"{role}-{number}" for role, count in counts for number in range(1, count + 1))

    def arguments_of(self, name: str) -> tuple[str, ...]:
        """What `minuet` is told to be."""
        role = name.partition("-")[0]
        if role != "hub":
            return (role,)
        return ("serve", "--workers", str(self.hub_workers)) if self.hub_workers else ("serve",)

    def of(self, role: str) -> tuple[str, ...]:
        return tuple(name for name in self.names if name.startswith(f"{role}-"))


@dataclass(slots=True)
class Member:
    """One process of the deployment, through all its lives."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    process: Process | None = None
    lives: int = 0
    meant_to_be_dead: bool = False
    """Killed, and not started again yet."""

    @property
    def role(self) -> str:
        return self.name.partition("-")[0]

    @property
    def running(self) -> Process:
        assert self.process is not None, f"{self.name} was never started"
        return self.process

    @property
    def ended_by_itself(self) -> bool:
        return (
            self.process is not None
            and self.process.child.returncode is not None
            and not self.meant_to_be_dead
        )

    async def start(self) -> None:
        """Starts it, or starts it again, and waits until it serves."""
        process = await launch(*self.arguments, environment=self.environment, log=self.log)
        self.lives += 1
        self.process, self.meant_to_be_dead = process, False
        await process.started()


class Deployment:
    """All processes of a run; see the head of this file."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self.members: dict[str, Member] = {}
        self.links: dict[str, LinkHandle] = {}
        self.postgres = EmbeddedPostgres(folder / "postgres", durable=False)
        self.valkey = EmbeddedValkey(folder / "redis")
        self.cluster: Cluster | None = Cluster(folder / "cluster") if layout.cluster else None
        self.proxy = ProxyProcess()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await asyncio.gather(
                stack.enter_async_context(self.postgres),
                stack.enter_async_context(self.cluster or self.valkey),
                stack.enter_async_context(self.proxy),
            )
            await migrate(self.database_url)
            stack.push_async_callback(self._stop_members)
            await self._start_members()
            self.links[FRONT] = await self.proxy.open(FRONT, self.hub_addresses())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Where clients go: the balancer."""
        return f"http://{LOOPBACK}:{self.front.port}"

    @property
    def front(self) -> LinkHandle:
        return self.links[FRONT]

    @property
    def redis_url(self) -> str:
        """Redis itself, not through a link."""
        return self.cluster.url if self.cluster is not None else self.valkey.url

    @property
    def database_url(self) -> str:
        return self.postgres.url

    def hub_addresses(self) -> list[Target]:
        """Where the hubs listen that have been started."""
        parts = [urlsplit(member.process.public) for member in self.hubs() if member.process is not None]
        return [(part.hostname or LOOPBACK, part.port or 0) for part in parts]

    def hubs(self) -> list[Member]:
        return [self.members[name] for name in self.layout.of("hub") if name in self.members]

    def ended_by_themselves(self) -> list[Member]:
        """Processes that nobody killed and that are gone all the same."""
        return [member for member in self.members.values() if member.ended_by_itself]

    async def revive(self, name: str) -> None:
        """Starts a killed process again, and sends clients there."""
        await self.members[name].start()
        await self.front.targets(self.hub_addresses())

    @asynccontextmanager
    async def redis(self) -> Any:
        """A client of the plain Redis itself, for evidence."""
        async with Redis.from_url(self.valkey.url, socket_timeout=5, socket_connect_timeout=5) as client:
            yield client

    async def database_answers(self) -> bool:
        """Whether PostgreSQL takes a connection and a question."""
        try:
            connection = await asyncpg.connect(self.database_url, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        try:
            return bool(await connection.fetchval("SELECT true", timeout=5))
        finally:
            await connection.close(timeout=5)

    async def _start_members(self) -> None:
        for name in self.layout.names:
            folder = self.folder / name
            folder.mkdir()
            environment = environment_for(
                folder,
                await self._redis_url_of(name),
                self.database_url,
                self.layout.config,
                {
                    "MINUET_REDIS_PREFIX": PREFIX,
                    "MINUET_REDIS_CLUSTER": str(self.layout.cluster).lower(),
                    "MINUET_MAX_SESSIONS": str(self.layout.max_sessions),
                    **self.layout.settings,
                },
            )
            log = self.folder / f"{name}.log"
            self.members[name] = Member(name, self.layout.arguments_of(name), environment, log)
        # Two at a time: a machine of two processors starts them no quicker all at once.
        names = list(self.layout.names)
        for first in range(0, len(names), 2):
            await asyncio.gather(*(self.members[name].start() for name in names[first : first + 2]))

    async def _redis_url_of(self, name: str) -> str:
        if self.cluster is not None:
            return self.cluster.url
        parts = urlsplit(self.valkey.url)
        link = self.links[name] = await self.proxy.open(name, [(LOOPBACK, self.valkey.port)])
        return urlunsplit(parts._replace(netloc=f":{parts.password}@{LOOPBACK}:{link.port}"))

    async def _stop_members(self) -> None:
        running = [member.process for member in self.members.values() if member.process is not None]
        await asyncio.gather(*(process.stop() for process in running), return_exceptions=True)


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float, otherwise: str) -> None:
    """Waits for a condition. Raises: TimeoutError saying `otherwise`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not await condition():
        if loop.time() > deadline:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.05)


__all__ = ["CANARY", "FRONT", "PREFIX", "SECRET", "Deployment", "Layout", "Member", "until"]
