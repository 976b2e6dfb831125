"""Keeps a node's lease: renews it each second, and begins a new incarnation where it lapsed.

Decides nothing that `leases.py` could decide. Knows the store by its port, and those who must act on a new incarnation
(the hub registers its sessions again, the bus listens on another inbox) as hooks.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from base.clock import ServerClock
from base.errors import Unavailable
from base.ids import NodeId
from presence.leases import Lease
from presence.metrics import PresenceMetrics
from presence.nodes import Incarnation, NodeStats, UserState
from presence.ports import LeaseStore

log = structlog.get_logger(__name__)

# A try that hangs must leave time for another before the lease ends.
TRY_TIMEOUT_S = 1.0
HOOK_BACKOFF_S = (0.25, 0.5, 1.0, 2.0)

IncarnationHook = Callable[[NodeId, NodeId], Awaitable[None]]
"""Called with the old and the new incarnation; called again where it raises, so it must be safe to repeat."""


class NodeLease:
    """This process as others see it: an incarnation that lives while its lease does.

    Run `run()` in the process's TaskGroup, wait for `acquired()` before `node_id` is given to anyone, and `release()`
    at the end.
    """

    def __init__(
        self,
        store: LeaseStore,
        role: str,
        clock: ServerClock,
        new_id: Callable[[], str],
        stats: Callable[[], NodeStats],
        metrics: PresenceMetrics,
    ) -> None:
        self._store = store
        self._role = role
        self._clock = clock
        self._new_id = new_id
        self._stats = stats
        self._metrics = metrics
        self._lease = Lease()
        self._me = self._another_self()
        self._next: Incarnation | None = None
        self._hooks: list[IncarnationHook] = []
        self._restoring: asyncio.Task[None] | None = None
        self._acquired = asyncio.Event()
        self._released = False
        self._is_away = False
        self._last_held_at = clock.monotonic_ms()
        # Read when they are collected: a loop that is stuck must not look healthy.
        metrics.lease_age.set_function(lambda: (clock.monotonic_ms() - self._last_held_at) / 1000)
        metrics.clock_skew.set_function(lambda: clock.skew_ms / 1000)

    @property
    def node_id(self) -> NodeId:
        """The current incarnation; another one after a lapse."""
        return self._me.node_id

    @property
    def is_lapsed(self) -> bool:
        """Whether others may think this incarnation dead, by our own clock: asked before each frame is handled."""
        return not self._lease.is_held(self._clock.monotonic_ms())

    @property
    def is_settled(self) -> bool:
        """Whether the lease is held and every hook has run for this incarnation."""
        return self._restoring is None and not self.is_lapsed

    @property
    def last_renewed_at(self) -> int | None:
        """When the last successful renewal was asked for, in ms of the monotonic clock."""
        return self._lease.renewed_at

    def on_incarnation(self, hook: IncarnationHook) -> None:
        """Has `hook(old, new)` called after each lapse, once the new incarnation holds its lease."""
        self._hooks.append(hook)

    async def acquired(self) -> None:
        """Returns once the first lease is held."""
        await self._acquired.wait()

    async def run(self) -> None:
        """Keeps the lease until cancelled or released."""
        async with asyncio.TaskGroup() as tasks:
            while not self._released:
                await self._keep(tasks)
                await asyncio.sleep(self._lease.wait_ms(self._clock.monotonic_ms()) / 1000)
            if self._restoring is not None:
                self._restoring.cancel()

    async def release(self) -> None:
        """Ends the lease at once, so that nobody waits for it to run out."""
        self._released = True
        try:
            await self._store.release(self.node_id)
        except Unavailable as error:
            log.warning("lease.not_released", node_id=self.node_id, error=error.message)
        self._lease.ended(self._clock.monotonic_ms())

    async def _keep(self, tasks: asyncio.TaskGroup) -> None:
        self._notice_lapse()
        stats = self._stats()
        for state in UserState:
            self._metrics.users.labels(state.value).set(stats.users.get(state, 0))
        asked_at = self._clock.monotonic_ms()
        try:
            async with asyncio.timeout(TRY_TIMEOUT_S):
                if self._lease.renewed_at is None:
                    renewal = await self._store.acquire(self._next or self._me, stats)
                else:
                    renewal = await self._store.renew(self._me, stats)
        except (Unavailable, TimeoutError) as error:
            self._failed(error)
            return
        answered_at = self._clock.monotonic_ms()
        self._clock.measured(renewal.store_ms, asked_at_ms=asked_at, answered_at_ms=answered_at)
        if self._released:
            return
        if renewal.held:
            self._lease.renewed(asked_at)
            self._last_held_at = asked_at
            self._succeeded(tasks)
        else:
            self._lapse("the store no longer has it")

    def _notice_lapse(self) -> None:
        now = self._clock.monotonic_ms()
        age = self._lease.age_ms(now)
        if age is not None and not self._lease.is_held(now):
            # Even if the store still had it: whoever asked us meanwhile was told that we are not sure.
            self._lapse(f"it was not renewed for {age} ms")

    def _lapse(self, why: str) -> None:
        log.warning("lease.lapsed", node_id=self.node_id, why=why)
        self._metrics.leases_lapsed.inc()
        self._lease.ended(self._clock.monotonic_ms())
        self._next = self._another_self()

    def _failed(self, error: Exception) -> None:
        self._lease.failed(self._clock.monotonic_ms())
        if not self._is_away:
            self._is_away = True
            log.warning("lease.not_renewed", node_id=self.node_id, error=str(error) or "no answer")

    def _succeeded(self, tasks: asyncio.TaskGroup) -> None:
        if self._is_away:
            self._is_away = False
            log.info("lease.renewed_again", node_id=self.node_id)
        self._acquired.set()
        if self._next is None:
            return
        old, self._me, self._next = self.node_id, self._next, None
        log.warning("lease.new_incarnation", node_id=self.node_id, was=old)
        if self._restoring is not None:
            self._restoring.cancel()
        self._restoring = tasks.create_task(self._restore(old, self.node_id))

    async def _restore(self, old: NodeId, new: NodeId) -> None:
        for hook in self._hooks:
            await self._call(hook, old, new)
        self._restoring = None

    async def _call(self, hook: IncarnationHook, old: NodeId, new: NodeId) -> None:
        attempt = 0
        while True:
            try:
                await hook(old, new)
            except Unavailable:
                pass
            except Exception:
                # Without the others' work this process would stay mute for ever: log, and try again.
                log.exception("lease.hook_failed", node_id=new)
            else:
                return
            await asyncio.sleep(HOOK_BACKOFF_S[min(attempt, len(HOOK_BACKOFF_S) - 1)])
            attempt += 1

    def _another_self(self) -> Incarnation:
        return Incarnation(NodeId(self._new_id()), self._role, self._clock.now_ms())
