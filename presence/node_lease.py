"""Keeps a node's lease: renews it each second, begins a new incarnation where it lapsed, and learns of losses.

Decides nothing that `leases.py` and `continuity.py` could decide. Knows the store by its port, and those who must act on
a new incarnation or after a loss (the hub registers its sessions again, the bus listens on another inbox) as hooks.

With each renewal the store is asked whether it still has what it was told. A node whose lease is gone because the store
lost it, and not because its time was over, stays the incarnation that it is: whoever knew it still does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from base.clock import ServerClock
from base.errors import Unavailable
from base.gathering import Gathering
from base.ids import NodeId
from base.rounds import insist
from presence.continuity import RESTORING_MS, Continuity, Mark
from presence.leases import Lease
from presence.metrics import PresenceMetrics
from presence.nodes import Incarnation, NodeStats, Renewal, UserState
from presence.ports import LeaseStore

log = structlog.get_logger(__name__)

# A try that hangs must leave time for another before the lease ends.
TRY_TIMEOUT_S = 1.0
HOOK_BACKOFF_S = (0.25, 0.5, 1.0, 2.0)
# However many commands find something missing at once, the store is asked about it so often at most.
DOUBT_SPACING_MS = 100
_SETTLED_POLL_S = 0.05

LossHook = Callable[[], Awaitable[None]]
"""Puts back what this process knows; called again where it raises, so it must be safe to repeat."""

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
        self._loss_hooks: list[LossHook] = []
        self._continuity = Continuity()
        self._restoring: asyncio.Task[None] | None = None
        self._moved_from: NodeId | None = None
        self._lost_at: int | None = None
        self._owed_since: int | None = None
        self._doubts = asyncio.Event()
        self._looks: list[asyncio.Future[None]] = []
        self._acquired = asyncio.Event()
        self._marks = Gathering(self._read_marks, at_once=1)
        """Asked for every device that comes: in a storm, one look serves many."""
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
        return self._next is None and self._moved_from is None and not self.is_lapsed

    @property
    def has_to_put_back(self) -> bool:
        """Whether the hooks for a loss are still to be run, or running."""
        return self._lost_at is not None or self._owed_since is not None

    def restoring_ms(self) -> int:
        """For how much longer nothing may be granted, because the store lost something; 0 when it may."""
        return self._continuity.restoring_ms(self._clock.monotonic_ms())

    def doubt(self) -> None:
        """Has the store asked now whether it lost something: a thing is missing that should be there."""
        self._doubts.set()

    async def look(self) -> None:
        """As `doubt`; returns when the store was asked, or could not be."""
        if self._released:
            return
        asked = asyncio.get_running_loop().create_future()
        self._looks.append(asked)
        self._doubts.set()
        await asked

    async def is_whole(self) -> bool:
        """Whether the store has all that it was told, as far as it says itself, at this moment."""
        if self.restoring_ms() > 0:
            return False
        return not self._continuity.differs(await self._marks.ask(None) or ())

    async def check(self) -> None:
        """Notices a loss that nobody has noticed until now; cheaper than `look` where there was none.

        For what is rare and would look at a store that forgot as if it had never known.
        """
        if self.restoring_ms() == 0 and not await self.is_whole():
            await self.look()

    async def sure(self) -> None:
        """As `settled`, and what `check` notices is waited for, too."""
        await self.check()
        await self.settled()

    async def settled(self) -> None:
        """Returns as soon as something may be granted."""
        while self.restoring_ms() > 0:  # noqa: ASYNC110  rare: waking up is not worth a queue of those who wait
            await asyncio.sleep(_SETTLED_POLL_S)

    @property
    def last_renewed_at(self) -> int | None:
        """When the last successful renewal was asked for, in ms of the monotonic clock."""
        return self._lease.renewed_at

    def on_incarnation(self, hook: IncarnationHook) -> None:
        """Has `hook(old, new)` called after each lapse, once the new incarnation holds its lease."""
        self._hooks.append(hook)

    def on_loss(self, hook: LossHook) -> None:
        """Has `hook()` called whenever the store may have lost something, after those of a new incarnation."""
        self._loss_hooks.append(hook)

    async def acquired(self) -> None:
        """Returns once the first lease is held."""
        await self._acquired.wait()

    async def run(self) -> None:
        """Keeps the lease until cancelled or released."""
        async with asyncio.TaskGroup() as tasks:
            while not self._released:
                looks, self._looks = self._looks, []
                self._doubts.clear()
                try:
                    await self._keep(tasks)
                finally:
                    _answer(looks)
                await self._wait()
            # Nobody looks any more, and nobody must wait for it.
            _answer(self._looks)
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
                renewal = await self._ask(stats)
        except (Unavailable, TimeoutError) as error:
            self._failed(error)
            return
        if self._released:
            return
        if renewal.held:
            self._lease.renewed(asked_at)
            self._last_held_at = asked_at
            self._succeeded(tasks)
        else:
            self._lapse("the store no longer has it")

    async def _ask(self, stats: NodeStats) -> Renewal:
        """Renews the lease, or takes it, and learns whether the store has lost something. Raises: Unavailable."""
        is_new = self._lease.renewed_at is None
        hold = self._store.acquire if is_new else self._store.renew
        renewal, marks = await asyncio.gather(
            self._timed(partial(hold, self._next or self._me, stats)), self._store.marks()
        )
        if self._continuity.heard(marks, self._clock.monotonic_ms()):
            # Noted before anything else is awaited: it is told once.
            self._lost_at = self._clock.monotonic_ms()
            log.warning("store.lost_something", node_id=self.node_id, parts=[mark.part for mark in marks])
            self._metrics.restorations.inc()
            await self._store.ask_to_hold_back(RESTORING_MS)
        if not renewal.held and not is_new and self.restoring_ms() > 0:
            # It was ours by our own clock until now, and nobody has acted on the death of a node that lost its lease
            # with everything else: the same incarnation takes it again.
            renewal = await self._timed(partial(self._store.acquire, self._me, stats))
        return renewal

    async def _read_marks(self, _keys: Sequence[None]) -> Mapping[None, list[Mark]]:
        return {None: await self._store.marks()}

    async def _timed(self, hold: Callable[[], Awaitable[Renewal]]) -> Renewal:
        asked_at = self._clock.monotonic_ms()
        renewal = await hold()
        answered_at = self._clock.monotonic_ms()
        self._clock.measured(renewal.store_ms, asked_at_ms=asked_at, answered_at_ms=answered_at)
        return renewal

    async def _wait(self) -> None:
        wait_ms = self._lease.wait_ms(self._clock.monotonic_ms())
        spacing_ms = min(wait_ms, DOUBT_SPACING_MS)
        await asyncio.sleep(spacing_ms / 1000)
        try:
            async with asyncio.timeout((wait_ms - spacing_ms) / 1000):
                await self._doubts.wait()
        except TimeoutError:
            pass

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
        if self._next is not None:
            old, self._me, self._next = self.node_id, self._next, None
            self._moved_from = self._moved_from or old
            log.warning("lease.new_incarnation", node_id=self.node_id, was=old)
        elif self._lost_at is None:
            return
        if self._restoring is not None:
            self._restoring.cancel()
        if self._lost_at is not None:
            self._owed_since, self._lost_at = self._lost_at, None
        self._restoring = tasks.create_task(self._restore())

    async def _restore(self) -> None:
        # Without the others' work this process would stay mute for ever: each hook is insisted on.
        if (old := self._moved_from) is not None:
            for hook in self._hooks:
                await insist(
                    partial(hook, old, self.node_id),
                    "lease.hook_failed",
                    HOOK_BACKOFF_S,
                    node_id=self.node_id,
                )
            self._moved_from = None
        if (since := self._owed_since) is not None:
            for loss_hook in self._loss_hooks:
                await insist(loss_hook, "lease.hook_failed", HOOK_BACKOFF_S, node_id=self.node_id)
            self._owed_since = None
            self._continuity.put_back()
            await self.settled()
            took_s = (self._clock.monotonic_ms() - since) / 1000
            self._metrics.restoring_seconds.inc(took_s)
            log.info("store.put_back", node_id=self.node_id, took_s=took_s)
        self._restoring = None

    def _another_self(self) -> Incarnation:
        return Incarnation(NodeId(self._new_id()), self._role, self._clock.now_ms())


def _answer(looks: list[asyncio.Future[None]]) -> None:
    for look in looks:
        if not look.done():
            look.set_result(None)
