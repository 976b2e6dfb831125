"""How a call changes: decide, commit, then what follows; and what is owed where the store is away.

Decides the order of these steps and nothing else: what may happen in a call is `signaling.call`'s, how records are
kept is the store's. Commits come before telling, except that a restriction (hanging up, revoking, blocking) binds
this node's own view first, and is never refused because something the server depends on is away. Refuses to know who
wants the change.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from signaling.aftermath import Aftermath, is_hosted
from signaling.call import events
from signaling.call.change import Decision
from signaling.call.consent import head
from signaling.call.rules import receive, restrict
from signaling.call.states import State
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.ports import CallStore, StoredCall
from signaling.router import Router
from signaling.telling import Telling

logger = structlog.get_logger(__name__)

_ATTEMPTS: Final = 8
_OWED_BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
_OWED_FOR_S: Final = 120.0


class Commits:
    """Changes of the calls that this process acts on."""

    def __init__(
        self,
        store: CallStore,
        local: LocalCalls,
        router: Router,
        aftermath: Aftermath,
        clock: ServerClock,
        metrics: CallMetrics,
    ) -> None:
        self._store = store
        self._local = local
        self._router = router
        self._aftermath = aftermath
        self._clock = clock
        self._metrics = metrics
        self.telling = Telling(store, local, router, clock, metrics)
        self._tasks: asyncio.TaskGroup | None = None
        self.retime: Callable[[LocalCall], None] = lambda _call: None
        """Told when a call's earliest timer may be another; set by whoever fires timers."""

    async def run(self) -> None:
        """Does what is owed, and what was asked for `soon`, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.telling.run()

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Does a call's work beside everything else; what it fails with is logged."""
        if self._tasks is None:
            work.close()
            raise RuntimeError("calls are not being served")
        self._tasks.create_task(_logged(work))

    async def decide(self, call: LocalCall, event: events.Event, *, told: bool = False) -> Decision:
        """Decides about an event, commits and tells; `told` where its own sessions know already.

        Raises: CallRefused, MinuetError `not_a_participant` where the record is gone, Unavailable.
        """
        # Bound before the lock: whoever takes something away does not wait behind the commits of others.
        bound = not told and self._is_ours(call) and call.bind(event, self._clock.now_ms())
        try:
            async with call.lock:
                return await self._decide_alone(call, event, told=told)
        finally:
            if bound:
                self._unbind(call, event)

    async def decide_quietly(self, call: LocalCall, event: events.Event) -> None:
        """As `decide`, of something that happened: tried again for seconds, and refused without a word."""
        for pause_s in _OWED_BACKOFF_S:
            try:
                await self.decide(call, event)
            except Unavailable:
                await asyncio.sleep(pause_s)
            except MinuetError as error:
                logger.debug("call did not care", call_id=call.id, code=error.code)
                return
            else:
                return
        logger.warning("event of a call was lost", call_id=call.id, event_type=type(event).__name__)

    def keep(self, stored: StoredCall) -> LocalCall:
        """The local call of this record, made or brought up to date, with its timers."""
        call = self._local.keep(stored)
        self.retime(call)
        return call

    # How it goes on inside.

    async def _decide_alone(self, call: LocalCall, event: events.Event, *, told: bool) -> Decision:
        for _ in range(_ATTEMPTS):
            before = call.stored
            decision = receive(before.call, event, self._clock.now_ms())
            if decision.call is before.call:
                return decision
            narrowed = restrict(before.call, event, self._clock.now_ms())
            if narrowed is not before.call:
                # On top of what is owed already.
                call.view = restrict(call.view, event, self._clock.now_ms())
            untold = self.telling.concerned(before.call, decision.call)
            try:
                stored = await self._store.commit(before, decision.call, untold=untold)
                if stored is None:
                    await self._reload(call)
                    continue
            except Unavailable:
                # What takes nothing away waits for the store; what does holds from now on, stored or not.
                if told or narrowed is before.call or not self._is_ours(call):
                    raise
                self._owe(call, event, decision)
                return decision
            self._took(call, stored)
            theirs = await self._aftermath.follow(before.call, stored, decision.effects, told_here=told)
            self.telling.tell(stored, theirs, untold)
            return decision
        raise Unavailable("the call kept changing")

    def _unbind(self, call: LocalCall, event: events.Event) -> None:
        call.release(event, self._clock.now_ms())
        self.retime(call)

    async def _reload(self, call: LocalCall) -> None:
        self._metrics.conflicts.inc()
        fresh = await self._store.load(call.id)
        if fresh is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        before = call.view
        self._took(call, fresh)
        # Somebody else's commit may be news to the sessions here; its frame, arriving later, finds nothing newer.
        self._aftermath.catch_up(before, call.view)

    def _took(self, call: LocalCall, stored: StoredCall) -> None:
        ended = call.stored.call.state is not State.ENDED and stored.call.state is State.ENDED
        call.take(stored, self._clock.now_ms())
        if self._is_ours(call):
            self.keep(stored)
        elif is_hosted(call, self._router.node_id):
            self._local.adopt(call)
            self.retime(call)
        if ended and stored.call.reason is not None:
            self._metrics.ended.labels(stored.call.reason).inc()
            logger.info(
                "call ended",
                call_id=call.id,
                reason=str(stored.call.reason),
                duration_ms=stored.call.duration_ms,
                intent=stored.call.intent,
                # Outside the database: whoever rewrites the log there cannot rewrite this line.
                consent_entries=len(stored.call.events) + len(stored.call.refused),
                consent_head=head(stored.call).hex(),
            )

    def _is_ours(self, call: LocalCall) -> bool:
        return self._local.get(call.id) is call

    def _owe(self, call: LocalCall, event: events.Event, decision: Decision) -> None:
        """Holds this node to a restriction at once, and commits it when the store is back."""
        logger.warning("restriction waits for the store", call_id=call.id, event_type=type(event).__name__)
        self._aftermath.show(call.stored.call, decision.call)
        self._aftermath.tell_only(decision.call, decision.effects)
        call.owed.append(event)
        self.soon(self._pay(call, event))

    async def _pay(self, call: LocalCall, event: events.Event) -> None:
        until = asyncio.get_running_loop().time() + _OWED_FOR_S
        attempt = 0
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_OWED_BACKOFF_S[min(attempt, len(_OWED_BACKOFF_S) - 1)])
            attempt += 1
            try:
                await self.decide(call, event, told=True)
            except Unavailable:
                continue
            except MinuetError:
                pass  # decided otherwise meanwhile, by somebody whose commit came first
            self._unbind(call, event)
            return
        call.owed.remove(event)
        logger.error("restriction could not be stored", call_id=call.id, event_type=type(event).__name__)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    # One call's failure must not end the task group that serves all of them.
    try:
        await work
    except Exception:
        logger.exception("work of a call failed")
