"""Processes: each role as one coroutine that runs until it is told to stop."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import structlog

from jobs.allocations import AllocationEnder
from jobs.connections import MadeConnections
from jobs.metrics import AllocationMetrics, PurgeMetrics, RecorderMetrics
from jobs.purge import Purge
from jobs.recorder import Recorder
from jobs.safety_recorder import SafetyRecorder
from jobs.sweep import Sweep
from matchmaker.worker import run_matchmaker
from matchmaker.worker_ports import WorkerPorts
from minuet.settings import Settings
from minuet.supervisor.lifeline import Post
from minuet.turn import with_ip_privacy
from minuet.wiring.accounts import open_accounts
from minuet.wiring.chat import ChatPart
from minuet.wiring.foundation import Foundation, open_foundation
from minuet.wiring.http import Offers, admin_app, own_origins, public_app
from minuet.wiring.hub import HubSide, open_tokens
from minuet.wiring.leaving import Leaving
from minuet.wiring.listening import Listening, listen, serve_app
from minuet.wiring.node import Node, open_stores
from minuet.wiring.retention import kept_for_a_time
from minuet.wiring.turn import turn_admins
from presence.reaper import Reaper
from safety.metrics import SafetyRecorderMetrics
from signaling.session.limits import SessionLimits
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.migrations import check_schema
from storage.postgres.safety import PostgresSafety
from storage.redis.announcer import BusAnnouncer
from storage.redis.calls import RedisEndedCalls
from storage.redis.safety import RedisPendingRecords
from storage.redis.turn_visits import RedisTurnVisits

logger = structlog.get_logger(__name__)

_OWN_ADMIN = ("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class Parts:
    """What one process does."""

    hub: bool = False
    matchmaker: bool = False
    worker: bool = False
    offers: Offers = Offers.BOTH
    """What a hub serves on its public port."""

    @property
    def role(self) -> str:
        if self.hub:
            if self.offers is Offers.REST:
                return "rest"
            return "all-in-one" if self.matchmaker else "hub"
        return "matchmaker" if self.matchmaker else "worker"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a process listens."""

    public: str | None
    admin: str


async def run_process(
    settings: Settings,
    parts: Parts,
    *,
    own_pages: bool = False,
    started: Callable[[Addresses], None] | None = None,
    limits: SessionLimits | None = None,
    post: Post | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM; `own_pages` lets the server's own pages open WebSockets.

    `limits` bounds each session; what is not a benchmark leaves them as the protocol says. With a `post` the process is
    one of several under a supervisor, which gave it its listening socket and asks it on a port that is its own.

    Raises: InvalidSettings, MigrationError where the schema is stale, OSError where a port is taken.
    """
    if parts.hub:
        # Calls are made here, and each is to know whether it hides addresses.
        settings = with_ip_privacy(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        public, admin = _listening(settings, parts, post)
        foundation = await open_foundation(stack, settings, parts.role)
        await check_schema(foundation.database)
        stores = open_stores(foundation)
        node = Node(foundation, stores)
        chat = ChatPart(foundation, node)
        tokens = open_tokens(foundation) if parts.hub else None
        side = HubSide(foundation, node, tokens, chat, limits) if tokens is not None else None
        async with _Running() as running:
            ready = asyncio.Event()
            running.start(node.run(ready))
            await running.until(ready, stop)
            if stop.is_set():
                return
            matchmaker = _start_jobs(running, foundation, node, parts, chat)
            leaving: Leaving | None = None
            async with AsyncExitStack() as servers:
                addresses = Addresses(public.url if public else None, admin.url)
                await serve_app(servers, admin_app(foundation, node), admin)
                if public is not None and tokens is not None and side is not None:
                    accounts = open_accounts(servers, foundation, stores, tokens)
                    origins = settings.allowed_origins or (own_origins(settings, public) if own_pages else ())
                    app = public_app(foundation, node, side, accounts, origins, parts.offers)
                    server = await serve_app(servers, app, public)
                    leaving = Leaving(node, side.session_side.draining, server, post)
                    if post is not None:
                        running.start(post.follow_orders(server, stop.set))
                _settle_collector()
                if started is not None:
                    started(addresses)
                logger.info(
                    "serving",
                    role=parts.role,
                    node_id=node.lease.node_id,
                    public=addresses.public,
                    admin=addresses.admin,
                    pid=os.getpid(),
                )
                await running.until(stop)
                node.is_leaving = True
                if matchmaker is not None:
                    # No new claims: the others take the pools at once, while this one takes leave.
                    matchmaker.cancel()
                if leaving is not None:
                    await leaving.leave(settings.drain_notice_s)
            await node.lease.release()


def _listening(settings: Settings, parts: Parts, post: Post | None) -> tuple[Listening | None, Listening]:
    if post is not None:
        return Listening(post.own_door), listen(*_OWN_ADMIN)
    public = listen(settings.host, settings.port) if parts.hub else None
    return public, listen(settings.admin_host, settings.admin_port)


def _settle_collector() -> None:
    """Tells the garbage collector that what is here now stays, and to look for more less often.

    Else it walks over all modules and sessions again and again. What is not cyclic, which is nearly everything here, is
    freed at once as ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _start_jobs(
    running: "_Running", foundation: Foundation, node: Node, parts: Parts, chat: ChatPart
) -> "asyncio.Task[None] | None":
    """Starts what the process does beside its sessions; returns the matchmaker, where it is one."""
    stores = node.stores
    matchmaker: asyncio.Task[None] | None = None
    if parts.matchmaker:
        ports = WorkerPorts(
            queues=stores.queues,
            activities=stores.activities,
            calls=stores.calls,
            announcer=BusAnnouncer(node.bus, node.take),
            nodes=stores.nodes,
            lobby=node.lobby,
            ids=foundation.ids,
            clock=foundation.clock,
            metrics=node.matchmaker_metrics,
            health=node.lease,
        )
        matchmaker = running.start(run_matchmaker(foundation.settings.intents, ports))
    if parts.worker:
        redis, keys, jitter = foundation.redis, foundation.keys, foundation.random.random
        made = MadeConnections(chat.blocks, chat.teller, foundation.clock.now_ms)
        recorder = Recorder(
            RedisEndedCalls(redis, keys),
            PostgresCallArchive(foundation.database),
            RecorderMetrics(foundation.registry),
            foundation.clock,
            jitter,
            connections=made,
        )
        safety_recorder = SafetyRecorder(
            RedisPendingRecords(redis, keys),
            PostgresSafety(foundation.database),
            SafetyRecorderMetrics(foundation.registry),
            node.lease.node_id,
            jitter,
        )
        if servers := turn_admins(foundation.settings):
            ender = AllocationEnder(
                RedisTurnVisits(redis, keys), servers, AllocationMetrics(foundation.registry), jitter
            )
            running.start(ender.run())
        running.start(recorder.run())
        running.start(made.run())
        running.start(safety_recorder.run())
        running.start(Sweep(stores.calls, node.calls, node.calls.telling).run())
        expired = kept_for_a_time(foundation.settings, foundation.database, stores.accounts)
        running.start(Purge(expired, foundation.clock, PurgeMetrics(foundation.registry)).run())
        reaper = Reaper(stores.nodes, node.lost, node.presence_metrics, node.lease.settled)
        running.start(reaper.run())
    return matchmaker


class _Running:
    """Tasks that live as long as the process; the first that fails ends it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> "_Running":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def until(self, *events: asyncio.Event) -> None:
        """Returns when one of the events is set. Raises what a task failed with, if one does before."""
        waits = {asyncio.ensure_future(event.wait()) for event in events}
        try:
            done, _ = await asyncio.wait({*waits, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & self._tasks:
                task.result()
                raise RuntimeError("a part of the process ended by itself")
        finally:
            for wait in waits:
                wait.cancel()
