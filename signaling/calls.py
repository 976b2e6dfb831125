"""How a call changes: it is found, an event of it is decided, committed, and what follows is done.

Decides the order of these steps: what may happen in a call is `signaling.call`'s, how records are kept is the store's.
Commits come before telling, except that a restriction (hanging up, revoking, blocking) binds this node's own view first,
and is never refused because something the server depends on is away.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, UserId
from base.policy import IntentPolicy
from matchmaker.matches import Match
from signaling.aftermath import Aftermath
from signaling.call import events
from signaling.call.change import Decision
from signaling.call.create import propose
from signaling.call.record import Call, decode
from signaling.call.rules import receive, restrict, restricts
from signaling.call.states import RELAYING, Seat
from signaling.call_watch import CallWatch
from signaling.chores import Chores
from signaling.learning import Learning
from signaling.local_call import LocalCall, LocalCalls, Owed
from signaling.metrics import CallMetrics
from signaling.node_frames import CallCommitted
from signaling.owed_restrictions import OwedRestrictions
from signaling.ports import ATTEMPTS, BACKOFF_S, CallStore, StoredCall
from signaling.recent_restrictions import RecentRestrictions
from signaling.router import Router
from signaling.telling import Telling
from signaling.upholding import Upholding
from signaling.vouching import Vouching

logger = structlog.get_logger(__name__)

EventOf = Callable[[Seat], events.Event]


class CallService:
    """The calls that this process acts on."""

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
        self._aftermath = aftermath
        self._clock = clock
        self._metrics = metrics
        self._chores = Chores("call")
        run_soon = self._chores.run_soon
        self._learning = Learning(local, router, aftermath, clock, metrics)
        self.telling = Telling(store, local, router, clock, metrics)
        self.upholding = Upholding(store, self._learning, self.telling, aftermath, clock, metrics)
        self._learning.lacking = lambda call: run_soon(self.upholding.insist(call))
        self._restrictions = RecentRestrictions(self.upholding.say_again, clock.monotonic_ms)
        self.vouching = Vouching(self.upholding, self._restrictions, local, router)
        self._owed = OwedRestrictions(self._learning, aftermath, clock, self._pay, run_soon)
        self.watch = CallWatch(self, local, router, clock, metrics, run_soon)
        self._learning.retime = self.watch.retime
        self.restoring: Callable[[], int] = lambda: 0
        """For how many more ms the store is being put right, in which nothing is permitted; set by whoever knows."""

    async def run(self) -> None:
        """Serves timers and what is owed, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.telling.run())
                await self._chores.run()
        finally:
            self.watch.close()

    # Which call is meant.

    async def find(self, call_id: CallId) -> LocalCall:
        """The call, kept here or not. Raises: MinuetError `not_a_participant` where there is none, Unavailable."""
        call = await self.known(call_id)
        if call is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return call

    async def known(self, call_id: CallId) -> LocalCall | None:
        """The call as this node knows it, else as the store does. Raises: Unavailable."""
        return self._local.get(call_id) or await self.stored(call_id)

    async def stored(self, call_id: CallId) -> LocalCall | None:
        """The call as the store has it now. Raises: Unavailable."""
        stored = await self._store.load(call_id)
        if stored is None:
            return None
        kept = self._local.get(call_id)
        if kept is None:
            # Not kept: neither a REST request nor a sweep must make this node a host of the call.
            return self._local.of(stored)
        self._learning.hear(stored, from_store=True)
        return kept

    async def participant(self, call_id: CallId, user_id: UserId) -> tuple[Call, Seat]:
        """The call as it stands, ended or not, and where the user sits. Raises: as `act`."""
        call = await self.find(call_id)
        return call.view, seat_in(call, user_id)

    async def open(self, match: Match, policy: IntentPolicy) -> LocalCall | None:
        """Creates the call of a match unless it exists; None where it is too late for that. Raises: Unavailable."""
        call = self._local.get(match.call_id)
        if call is not None:
            return call
        proposed = propose(match, policy, self._clock.now_ms())
        stored = await self._store.create(proposed, claimed_at_ms=match.claimed_at_ms)
        return None if stored is None else self._learning.keep(stored)

    # What is wanted of it.

    async def act(
        self, call_id: CallId, user_id: UserId, event_of: EventOf, *, device_id: str | None = None
    ) -> Mapping[str, Any]:
        """Lets a participant do something; `device_id` where only the device that is in the call may do it.

        Returns: the reply's data. Raises: CallRefused, MinuetError (`not_a_participant`, `wrong_device`), Unavailable.
        """
        started = perf_counter()
        call = await self.find(call_id)
        seat = seat_in(call, user_id)
        if device_id is not None and call.view.seat(seat).device_id != device_id:
            raise MinuetError(code=ErrorCode.WRONG_DEVICE)
        event = call.as_seen(event_of(seat))
        if (wait_ms := self.restoring()) and not restricts(call.view, event):
            raise Unavailable("what was lost is being put back", retry_after_ms=wait_ms)
        decision = await self.decide(call, event)
        self._metrics.command_seconds.observe(perf_counter() - started)
        return decision.reply or {}

    async def sweep(self, call_id: CallId) -> None:
        """Fires what is due in a call that no living node fires. Raises: MinuetError, Unavailable."""
        call = await self.stored(call_id)
        if call is not None:
            await self.decide(call, events.TimerFired())

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
        bound = told_at is None and self._learning.is_kept(call) and call.bind(event, self._clock.now_ms())
        try:
            async with call.lock:
                return await self._decide_alone(call, event, told_at, still)
        finally:
            if bound:
                call.release(event, self._clock.now_ms())
                self.watch.retime(call)

    async def decide_if_it_cares(
        self, call: LocalCall, event: events.Event, *, still: Callable[[], bool] = lambda: True
    ) -> None:
        """As `decide`, of something that the call may have no use for any more. Raises: Unavailable."""
        try:
            await self.decide(call, event, still=still)
        except Unavailable:
            raise
        except MinuetError as error:
            logger.debug("call did not care", call_id=call.id, code=error.code)

    async def decide_quietly(self, call: LocalCall, event: events.Event) -> None:
        """As `decide`, of something that happened: tried again for seconds, and refused without a word."""
        for pause_s in BACKOFF_S:
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

    def owes(self) -> bool:
        """Whether something was told here that the store does not have."""
        return self._owed.number > 0

    def go_on_owing(self, call: LocalCall, owed: Owed) -> None:
        """Holds to what another node told, until the store has it."""
        self._owed.go_on(call, owed)

    # What others did with it.

    def committed(self, frame: CallCommitted) -> None:
        """Takes note of what another node committed, and acknowledges it."""
        stored = StoredCall(decode(frame.record), frame.rev)
        known = self._local.get(stored.call.call_id)
        self._learning.hear(stored, None if frame.again else frame.told)
        self.telling.heard(frame, stored.call.version)
        if (
            known is not None
            and stored.call.version <= known.stored.call.version
            and stored.rev != known.stored.rev
        ):
            # Old news, as a rule. But a node that commits on what the store forgot sends the like.
            self._chores.run_soon(self._verify(known))

    async def catch_up(self, call_id: CallId) -> None:
        """Loads the record anew, because a peer's node is ahead of this one. Raises: Unavailable."""
        stored = await self._store.load(call_id)
        if stored is not None:
            self._learning.hear(stored, from_store=True)

    # How it goes on inside.

    async def _decide_alone(
        self, call: LocalCall, event: events.Event, told_at: int | None, still: Callable[[], bool]
    ) -> Decision:
        for _ in range(ATTEMPTS):
            if not still():
                return Decision(call.stored.call)
            if call.lost is not None:
                await self.upholding.uphold_before(call, event)
            before = call.stored
            if told_at is None and (resting := self._owed.upon_owed(call, event)) is not None:
                return resting
            now_ms = self._clock.now_ms()
            decision = self._decided(before.call, event, told_at, now_ms)
            if decision.call is before.call:
                if isinstance(event, events.VideoRevoked):
                    call.revoked_at = now_ms
                return decision
            narrowed = restrict(before.call, event, now_ms)
            if narrowed is not before.call:
                # On top of what is owed already.
                call.view = restrict(call.view, event, now_ms)
            untold = self.telling.concerned(before.call, decision.call)
            try:
                # What is told to be over must not come back because a failover has not heard of it.
                confirm = narrowed is not before.call
                stored = await self._store.commit(before, decision.call, untold=untold, confirm=confirm)
                if stored is None:
                    await self.upholding.reload(call)
                    continue
                self._owed.store_took()
                if confirm:
                    self._restrictions.note(call)
            except Unavailable:
                # What takes nothing away waits for the store; what does holds from now on, stored or not.
                if told_at is not None or narrowed is before.call or not self._learning.is_kept(call):
                    raise
                # As of then: the store may have taken it, and then people are told the time that stands there.
                return self._owed.owe(call, event, decision, now_ms)
            await self._aftermath.follow(
                self._learning.take(call, stored),
                before.call,
                decision.effects,
                partial(self.telling.tell, stored, untold=untold),
                told_here=told_at is not None,
            )
            return decision
        raise Unavailable("the call kept changing")

    def _decided(self, call: Call, event: events.Event, told_at: int | None, now_ms: int) -> Decision:
        decision = receive(call, event, now_ms)
        if told_at is None or call.state not in RELAYING or decision.call.state in RELAYING:
            return decision
        # Media was over when its people were told so, and not when the store heard of it.
        then = receive(call, event, max(told_at, call.live_since or 0))
        return decision if then.call.state in RELAYING else then

    async def _pay(self, call: LocalCall, owed: Owed) -> None:
        def still() -> bool:
            record = call.stored.call
            return owed.is_due(record) and restricts(record, owed.event)

        await self.decide(call, owed.event, told_at=owed.told_at, still=still)

    async def _verify(self, call: LocalCall) -> None:
        if call.has_closed_something:
            with suppress(Unavailable):
                await self.upholding.verify(call)


def seat_in(call: LocalCall, user_id: UserId) -> Seat:
    """Where a user sits. Raises: MinuetError `not_a_participant`."""
    seat = call.view.seat_of(user_id)
    if seat is None:
        raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
    return seat
