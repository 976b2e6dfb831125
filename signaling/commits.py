"""How a call changes: decide, commit, then what follows; and what is owed where the store is away.

Decides the order of these steps and nothing else: what may happen in a call is `signaling.call`'s, how records are
kept is the store's. Commits come before telling, except that a restriction (hanging up, revoking, blocking) binds
this node's own view first, and is never refused because something the server depends on is away. Refuses to know who
wants the change.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

import msgspec
import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId
from signaling.aftermath import Aftermath, is_hosted
from signaling.call import events
from signaling.call.change import CallRefused, Decision
from signaling.call.consent import head
from signaling.call.effects import Effect, ReleaseTicket, RememberPartners, ReturnTicket
from signaling.call.merge import reconcile
from signaling.call.record import Call
from signaling.call.rules import receive, restrict
from signaling.call.states import RELAYING, SEATS, State
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.node_frames import Told
from signaling.ports import CallStore, StoredCall
from signaling.router import Router
from signaling.telling import Telling

logger = structlog.get_logger(__name__)

_ATTEMPTS: Final = 8
_OWED_BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)


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
        self._upholding: set[CallId] = set()
        self.telling = Telling(store, local, router, clock, metrics)
        self._tasks: asyncio.TaskGroup | None = None
        self._store_took = asyncio.Event()
        """Set, and another from then on, when the store has taken something: whoever waits for it need not wait longer."""
        self.doubt: Callable[[], None] = lambda: None
        """Told when a record is missing that must be there: the store has lost something."""
        self.restricted: Callable[[LocalCall], None] = lambda _call: None
        """Told when the store has something that was taken away in a call."""
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

    async def decide(
        self,
        call: LocalCall,
        event: events.Event,
        *,
        told_at: int | None = None,
        still: Callable[[], bool] = lambda: True,
    ) -> Decision:
        """Decides about an event, commits and tells; `told_at` says when its own sessions were told already.

        Where somebody's commit comes first it is decided anew, unless the event is not `still` true by then.

        Raises: CallRefused, MinuetError `not_a_participant` where the record is gone, Unavailable.
        """
        # Bound before the lock: whoever takes something away does not wait behind the commits of others.
        bound = told_at is None and self._is_ours(call) and call.bind(event, self._clock.now_ms())
        try:
            async with call.lock:
                return await self._decide_alone(call, event, told_at, still)
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

    def keep(self, stored: StoredCall, *, from_store: bool = False) -> LocalCall:
        """The local call of this record, made or brought up to date, with its timers."""
        call = self._local.keep(stored, from_store=from_store)
        self.retime(call)
        self._mind(call)
        return call

    def learn(
        self, stored: StoredCall, told: Sequence[Told] | None = None, *, from_store: bool = False
    ) -> None:
        """Takes note of what somebody else committed, and lets the sessions here hear of it.

        `told` is what that very change had to say, where that is known; `from_store` where the record was just loaded.
        """
        known = self._local.get(stored.call.call_id)
        before = None if known is None else known.stored.call
        call = self.keep(stored, from_store=from_store)
        # What an older change had to say is part of what follows from the newer record, or is not true any more.
        self._aftermath.hear(call, before, told if call.stored.rev == stored.rev else None)

    async def reassert(self, call: LocalCall) -> bool:
        """Puts a call back that the store has lost, or brings together what both know; whether it was missing.

        Raises: Unavailable.
        """
        async with call.lock:
            return await self._put_back(call)

    async def verify(self, call: LocalCall) -> None:
        """Holds what this node knows of a call against the store, which may have lost some of it. Raises: Unavailable."""
        async with call.lock:
            fresh = await self._store.load(call.id)
            if fresh is None:
                await self._put_back(call)
            elif fresh.rev != call.stored.rev:
                self._heard_from_store(call, fresh)
            await self._uphold(call)

    async def say_again(self, call: LocalCall) -> None:
        """As `verify`, of a call that this node acted on and need not have. Raises: Unavailable."""
        async with call.lock:
            fresh = await self._store.load(call.id)
            if fresh is None:
                await self._put_back(call)
            elif fresh.rev != call.stored.rev:
                call.take(fresh, self._clock.now_ms(), from_store=True)
                await self._uphold(call, is_ours=True)

    # How it goes on inside.

    async def _decide_alone(
        self, call: LocalCall, event: events.Event, told_at: int | None, still: Callable[[], bool]
    ) -> Decision:
        for _ in range(_ATTEMPTS):
            if not still():
                return Decision(call.stored.call)
            if call.lost is not None:
                await self._uphold_before(call, event)
            before = call.stored
            if told_at is None and (resting := self._upon_owed_end(call, event)) is not None:
                return resting
            decision = self._decided(before.call, event, told_at)
            if decision.call is before.call:
                if isinstance(event, events.VideoRevoked):
                    call.revoked_at = self._clock.now_ms()
                return decision
            narrowed = restrict(before.call, event, self._clock.now_ms())
            if narrowed is not before.call:
                # On top of what is owed already.
                call.view = restrict(call.view, event, self._clock.now_ms())
            untold = self.telling.concerned(before.call, decision.call)
            try:
                # What is told to be over must not come back because a failover has not heard of it.
                confirm = narrowed is not before.call
                stored = await self._store.commit(before, decision.call, untold=untold, confirm=confirm)
                if stored is None:
                    await self._reload(call)
                    continue
                self._wake_payers()
                if confirm:
                    self.restricted(call)
            except Unavailable:
                # What takes nothing away waits for the store; what does holds from now on, stored or not.
                if told_at is not None or narrowed is before.call or not self._is_ours(call):
                    raise
                return self._owe(call, event, decision)
            await self._aftermath.follow(
                self._took(call, stored),
                before.call,
                decision.effects,
                partial(self.telling.tell, stored, untold=untold),
                told_here=told_at is not None,
            )
            return decision
        raise Unavailable("the call kept changing")

    def _decided(self, call: Call, event: events.Event, told_at: int | None) -> Decision:
        decision = receive(call, event, self._clock.now_ms())
        if told_at is None or call.state not in RELAYING or decision.call.state in RELAYING:
            return decision
        # Media was over when its people were told so, and not when the store heard of it.
        then = receive(call, event, max(told_at, call.live_since or 0))
        return decision if then.call.state in RELAYING else then

    def _unbind(self, call: LocalCall, event: events.Event) -> None:
        call.release(event, self._clock.now_ms())
        self.retime(call)

    async def _reload(self, call: LocalCall) -> None:
        self._metrics.conflicts.inc()
        fresh = await self._store.load(call.id)
        if fresh is not None:
            # Somebody else's commit may be news to the sessions here; its frame, arriving later, finds nothing newer.
            self._heard_from_store(call, fresh)
        elif self._is_ours(call):
            self.doubt()
            await self._put_back(call)
        else:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)

    def _heard_from_store(self, call: LocalCall, fresh: StoredCall) -> None:
        before = call.stored.call
        self._aftermath.hear(self._took(call, fresh, from_store=True), before, None)

    async def _put_back(self, call: LocalCall) -> bool:
        known = call.stored
        found = await self._store.restore(known)
        if found is None:
            self._metrics.merges.labels("nothing").inc()
            logger.info("call put back", call_id=call.id, version=known.call.version)
            return True
        if found.rev != known.rev:
            self._heard_from_store(call, found)
            self._metrics.merges.labels("newer" if call.lost is None else "other").inc()
            await self._uphold(call)
        return False

    # What the store has lost.

    async def _uphold(self, call: LocalCall, *, is_ours: bool = False) -> None:
        """Commits again what was told here and is not in the record any more. Raises: Unavailable."""
        for _ in range(_ATTEMPTS):
            lost, before = call.lost, call.stored
            if lost is None or not (is_ours or self._is_ours(call)):
                return
            whole = reconcile(lost.call, before.call, self._clock.now_ms())
            untold = self.telling.concerned(before.call, whole)
            stored = await self._store.commit(before, whole, untold=untold, confirm=True)
            if stored is None:
                await self._reload(call)
                continue
            self._metrics.upheld.inc()
            logger.warning("what was told is stored again", call_id=call.id, version=whole.version)
            self._took(call, stored)
            self._aftermath.hear(call, lost.call, None)
            self.telling.tell(stored, None, untold)
            await self._aftermath.settle(call, _of_end(before.call, whole))
            return
        raise Unavailable("the call kept changing")

    async def _uphold_before(self, call: LocalCall, event: events.Event) -> None:
        try:
            await self._uphold(call)
        except Unavailable:
            # A restriction binds all the same, and is owed; what permits must not be decided by half the truth.
            if restrict(call.view, event, self._clock.now_ms()) is call.view:
                raise

    async def _uphold_soon(self, call: LocalCall) -> None:
        try:
            for attempt in count():
                try:
                    async with call.lock:
                        await self._uphold(call)
                except Unavailable:
                    await asyncio.sleep(_OWED_BACKOFF_S[min(attempt, len(_OWED_BACKOFF_S) - 1)])
                else:
                    return
        finally:
            self._upholding.discard(call.id)

    def _took(self, call: LocalCall, stored: StoredCall, *, from_store: bool = False) -> LocalCall:
        """Goes on from a record; returns the call that this node keeps, where that is another by now."""
        ended = call.stored.call.state is not State.ENDED and stored.call.state is State.ENDED
        call.take(stored, self._clock.now_ms(), from_store=from_store)
        kept = self._local.get(call.id)
        if kept is None and is_hosted(call, self._router):
            self._local.adopt(call)
        if kept is not None or self._is_ours(call):
            call = self.keep(stored, from_store=from_store)
        # Whoever lost the race for the end finds it in the store, and it is not theirs to count.
        if ended and not from_store and stored.call.reason is not None:
            self._metrics.ended.labels(stored.call.reason).inc()
            for event in stored.call.events:
                self._metrics.consent.labels(event.kind).inc()
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
        return call

    def _mind(self, call: LocalCall) -> None:
        if call.lost is not None and call.id not in self._upholding:
            self._upholding.add(call.id)
            self.soon(self._uphold_soon(call))

    def _is_ours(self, call: LocalCall) -> bool:
        return self._local.get(call.id) is call

    def _owe(self, call: LocalCall, event: events.Event, decision: Decision) -> Decision:
        """Holds this node to a restriction at once, and commits it when the store is back."""
        now_ms = self._clock.now_ms()
        told = call.as_told(now_ms)
        try:
            # Upon what was told already: an end that is owed is not told again by a second one.
            on_top = receive(told, event, now_ms)
        except CallRefused:
            return decision
        if on_top.call is told:
            return decision
        logger.warning("restriction waits for the store", call_id=call.id, event_type=type(event).__name__)
        shown = max((seen.version for seen in call.shown.values()), default=0)
        as_next = msgspec.structs.replace(on_top.call, version=max(on_top.call.version, shown + 1))
        self._aftermath.tell_only(call, as_next, on_top.effects)
        call.owe(event, now_ms)
        self.soon(self._pay(call, event, now_ms))
        return on_top

    def _upon_owed_end(self, call: LocalCall, event: events.Event) -> Decision | None:
        """What comes after an end of media that was told and waits for the store; None where none does.

        It is decided by what was told, and owed in its turn: by the record the call still goes on, and whoever declines to
        stay in touch would be told `ok` for nothing. Raises: CallRefused, Unavailable.
        """
        now_ms = self._clock.now_ms()
        told = call.as_told(now_ms)
        if told.state in RELAYING or call.stored.call.state not in RELAYING:
            return None
        on_top = receive(told, event, now_ms)
        if on_top.call is told:
            return on_top
        if restrict(told, event, now_ms) is told:
            raise Unavailable("the end of the call waits for the store")
        return self._owe(call, event, on_top)

    async def _pay(self, call: LocalCall, event: events.Event, told_at: int) -> None:
        # For as long as the call is known here: what was told does not come undone because the store is away for long.
        attempt = 0
        while self._is_ours(call):
            await self._pause(attempt)
            attempt += 1
            if call.owed[0] is not event:
                continue  # it may rest on what is owed before it
            try:
                await self.decide(call, event, told_at=told_at)
            except Unavailable:
                continue
            except MinuetError:
                pass  # decided otherwise meanwhile, by somebody whose commit came first
            call.paid(event, self._clock.now_ms())
            self.retime(call)
            self._wake_payers()  # the next one of this call may have its turn now
            return
        logger.error("restriction could not be stored", call_id=call.id, event_type=type(event).__name__)

    async def _pause(self, attempt: int) -> None:
        """Until another try, which is worth it as soon as the store has taken anything at all."""
        try:
            async with asyncio.timeout(_OWED_BACKOFF_S[min(attempt, len(_OWED_BACKOFF_S) - 1)]):
                await self._store_took.wait()
                # Where it takes some and refuses others, this is how often the others try.
                await asyncio.sleep(_OWED_BACKOFF_S[0] / 2)
        except TimeoutError:
            pass

    def _wake_payers(self) -> None:
        self._store_took.set()
        self._store_took = asyncio.Event()


def _of_end(before: Call, after: Call) -> list[Effect]:
    """What else has to be done again where an end was lost; each is safe to repeat, and told is what the records say."""
    effects: list[Effect] = []
    if before.state in RELAYING and after.state not in RELAYING:
        effects.append(RememberPartners())
    effects += [
        ReturnTicket(seat) if after.seat(seat).requeued else ReleaseTicket(seat)
        for seat in SEATS
        if after.seat(seat).freed and not before.seat(seat).freed
    ]
    return effects


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    # One call's failure must not end the task group that serves all of them.
    try:
        await work
    except Exception:
        logger.exception("work of a call failed")
