"""Calls in motion: load, decide, commit, then what follows.

Decides the order of these steps and nothing else: what may happen in a call is `signaling.call`'s, how records are
kept is the store's. Commits come before telling, except that a restriction (hanging up, revoking, blocking) binds
this node's own view first, and is never refused because something the server depends on is away.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter
from typing import Any, Final

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, SessionId, UserId
from base.policy import IntentPolicy
from matchmaker.activity import InCall
from matchmaker.matches import Match
from matchmaker.ports import Slot
from signaling.aftermath import Aftermath, is_hosted
from signaling.call import events
from signaling.call.change import MAX_REFUSED_LINES_OF_SEAT, Decision
from signaling.call.consent import head
from signaling.call.create import propose
from signaling.call.record import Call, decode
from signaling.call.rules import receive, restrict
from signaling.call.states import RELAYING, SEATS, Seat, State
from signaling.call.view import call_state
from signaling.deadlines import Deadlines
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.node_frames import CallCommitted
from signaling.ports import CallStore, StoredCall
from signaling.protocol.messages.call import CallState
from signaling.router import Router

logger = structlog.get_logger(__name__)

EventOf = Callable[[Seat], events.Event]

_ATTEMPTS: Final = 8
_RETRY_MS: Final = 500
_OWED_BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
_OWED_FOR_S: Final = 120.0
_REFUSALS_KEPT_S: Final = 1.0
_SUMS_KEPT_S: Final = 10.0


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
        self._router = router
        self._aftermath = aftermath
        self._clock = clock
        self._metrics = metrics
        self._deadlines = Deadlines(clock, self._timer_fired)
        self._refusals: dict[CallId, Counter[tuple[Seat, ErrorCode]]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.expire_offers: Callable[[LocalCall, int], None] = lambda _call, _now: None
        """Told when offers may have run out; set by whoever relays."""

    async def run(self) -> None:
        """Serves timers and what is owed, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.Event().wait()
        finally:
            self._deadlines.close()

    # What clients do.

    async def act(
        self, call_id: CallId, user_id: UserId, event_of: EventOf, *, device_id: str | None = None
    ) -> Mapping[str, Any]:
        """Lets a participant do something; `device_id` where only the device that is in the call may do it.

        Returns: the reply's data. Raises: CallRefused, MinuetError (`not_a_participant`, `wrong_device`), Unavailable.
        """
        started = perf_counter()
        call = await self._find(call_id)
        seat = self.seat_in(call, user_id)
        if device_id is not None and call.view.seat(seat).device_id != device_id:
            raise MinuetError(code=ErrorCode.WRONG_DEVICE)
        decision = await self._decide(call, event_of(seat))
        self._metrics.command_seconds.observe(perf_counter() - started)
        return decision.reply or {}

    async def participant(self, call_id: CallId, user_id: UserId) -> tuple[Call, Seat]:
        """The call as it stands, ended or not, and where the user sits. Raises: as `act`."""
        call = await self._find(call_id)
        return call.view, self.seat_in(call, user_id)

    def seat_in(self, call: LocalCall, user_id: UserId) -> Seat:
        """Where a user sits. Raises: MinuetError `not_a_participant`."""
        seat = call.view.seat_of(user_id)
        if seat is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return seat

    # What sessions tell.

    async def attach(self, call_id: CallId, live: LiveSession) -> CallState | None:
        """The device is here; the call as it sees it, None where it is over for it or not this device's."""
        try:
            call = await self._find(call_id)
            seat = self.seat_in(call, live.user_id)
            is_new = call.view.seat(seat).session_id != live.id
            await self._decide(call, events.SeatAttached(seat, live.id, self._router.node_id, live.device_id))
            call = self._local.keep(call.stored)
            if is_new and call.negotiations.is_open and call.view.state in RELAYING:
                # The other side waits for an answer to something that the new session never saw.
                await self._decide(call, events.MediaFailed(seat))
        except Unavailable:
            raise
        except MinuetError:
            return None
        record = call.view.seat(seat)
        if call.view.state is State.ENDED or record.freed or record.session_id != live.id:
            return None
        live.enter_call(call_id)
        return call_state(call.view, seat, self._clock.now_ms())

    async def detach(self, call_id: CallId, live: LiveSession) -> None:
        """The device lost its socket and may come back. Raises: Unavailable."""
        local = self._local.get(call_id)

        def detached(seat: Seat) -> events.Event:
            return events.SeatDetached(seat, live.id, 0 if local is None else local.budgets[seat].spent)

        await self._note(call_id, live, detached)

    async def leave(self, call_id: CallId, live: LiveSession) -> None:
        """The device has left for good."""
        await self._note(call_id, live, lambda seat: events.SessionEnded(seat, live.id))

    # What matches and other nodes tell.

    async def open(self, match: Match, policy: IntentPolicy) -> LocalCall | None:
        """Creates the call of a match unless it exists; None where it is too late for that. Raises: Unavailable."""
        call = self._local.get(match.call_id)
        if call is not None:
            return call
        proposed = propose(match, policy, self._clock.now_ms())
        stored = await self._store.create(proposed, claimed_at_ms=match.claimed_at_ms)
        return None if stored is None else self._keep(stored)

    async def decide(self, call: LocalCall, event: events.Event) -> Decision:
        """Decides about an event of the server's own. Raises: CallRefused, Unavailable."""
        return await self._decide(call, event)

    def committed(self, frame: CallCommitted) -> None:
        """Takes note of what another node committed."""
        known = self._local.get(CallId(frame.call_id))
        before = None if known is None else known.view
        stored = StoredCall(decode(frame.record), frame.rev)
        if known is None or stored.call.version > known.stored.call.version:
            known = self._keep(stored)
        self._aftermath.hear(before, known.view, frame.told)

    async def catch_up(self, call_id: CallId) -> None:
        """Loads the record anew, because a peer's node is ahead of this one. Raises: Unavailable."""
        stored = await self._store.load(call_id)
        if stored is not None:
            known = self._local.get(call_id)
            before = None if known is None else known.view
            self._aftermath.show(before, self._keep(stored).view)

    async def sweep(self, call_id: CallId) -> None:
        """Fires what is due in a call that no living node fires. Raises: Unavailable."""
        stored = await self._store.load(call_id)
        if stored is not None:
            await self._decide(self._local.of(stored), events.TimerFired())

    async def lost(self, user_id: UserId, session_id: SessionId, slot: Slot) -> None:
        """A session died with its node; a call that it was in waits for its device to come back. Raises: Unavailable."""
        if not isinstance(slot.activity, InCall):
            return
        stored = await self._store.load(slot.activity.call_id)
        seat = None if stored is None else stored.call.seat_of(user_id)
        if stored is not None and seat is not None:
            await self._decide_quietly(self._local.of(stored), events.SeatDetached(seat, session_id))

    # What relays tell.

    def answered(self, call: LocalCall, _seat: Seat) -> None:
        """An answer has passed the gate: whoever may not send video has stopped by it."""
        self._close_windows(call)

    def retime(self, call: LocalCall) -> None:
        """Schedules the call's earliest timer, and closes the window after a revocation where nothing is left to stop."""
        hosted = is_hosted(call, self._router.node_id)
        self._deadlines.schedule(call.id, call.next_timer_at if hosted else None)
        if call.negotiations.answered and not call.negotiations.may_have_video:
            # Taken back before it was negotiated: nobody has an answer to give that would say so.
            self._close_windows(call)

    def count_refusal(self, call: LocalCall, seat: Seat, code: ErrorCode) -> None:
        """Counts a refused relay for the record; what comes within a second is one line of its log."""
        counts = self._refusals.get(call.id)
        if counts is None:
            counts = self._refusals[call.id] = Counter()
            self._soon(self._commit_refusals(call))
        counts[seat, code] += 1

    def overspent(self, call: LocalCall, seat: Seat) -> None:
        """Ends a call in which nothing more can be negotiated; closing the socket would only bring it back."""
        self._soon(self._decide_quietly(call, events.SignalingLimitReached(seat)))

    # How it goes on inside.

    async def _find(self, call_id: CallId) -> LocalCall:
        call = self._local.get(call_id)
        if call is not None:
            return call
        stored = await self._store.load(call_id)
        if stored is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        # Not kept: a REST request must not make this node a host of the call.
        return self._local.of(stored)

    def _keep(self, stored: StoredCall) -> LocalCall:
        call = self._local.keep(stored)
        self.retime(call)
        return call

    def _close_windows(self, call: LocalCall) -> None:
        """By the last answer that was relayed, whoever may not send video sends none."""
        view = call.view
        if any(view.seat(seat).video_off_at is not None for seat in SEATS):
            stopped = tuple(seat for seat in SEATS if not view.seat(seat).video_allowed)
            self._soon(self._decide_quietly(call, events.VideoStopped(stopped)))

    async def _decide(self, call: LocalCall, event: events.Event, *, told: bool = False) -> Decision:
        # Bound before the lock: whoever takes something away does not wait behind the commits of others.
        bound = not told and self._is_ours(call) and call.bind(event, self._clock.now_ms())
        try:
            async with call.lock:
                return await self._decide_alone(call, event, told=told)
        finally:
            if bound:
                self._unbind(call, event)

    async def _decide_alone(self, call: LocalCall, event: events.Event, *, told: bool) -> Decision:
        for _ in range(_ATTEMPTS):
            before = call.stored
            decision = receive(before.call, event, self._clock.now_ms())
            if decision.call is before.call:
                await self._repeat_effects(call, decision)
                return decision
            narrowed = restrict(before.call, event, self._clock.now_ms())
            if narrowed is not before.call:
                # On top of what is owed already.
                call.view = restrict(call.view, event, self._clock.now_ms())
            try:
                stored = await self._store.commit(before, decision.call)
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
            await self._aftermath.follow(before.call, stored, decision.effects, told_here=told)
            return decision
        raise Unavailable("the call kept changing")

    def _unbind(self, call: LocalCall, event: events.Event) -> None:
        call.release(event, self._clock.now_ms())
        self.retime(call)

    async def _repeat_effects(self, call: LocalCall, decision: Decision) -> None:
        if decision.effects:
            await self._aftermath.follow(call.view, call.stored, decision.effects)

    async def _reload(self, call: LocalCall) -> None:
        self._metrics.conflicts.inc()
        fresh = await self._store.load(call.id)
        if fresh is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        before = call.view
        self._took(call, fresh)
        # Somebody else's commit may be news to the sessions here; its frame, arriving later, finds nothing newer.
        self._aftermath.show(before, call.stored.call)

    def _took(self, call: LocalCall, stored: StoredCall) -> None:
        ended = call.stored.call.state is not State.ENDED and stored.call.state is State.ENDED
        call.take(stored, self._clock.now_ms())
        if self._local.get(call.id) is call:
            self._keep(stored)
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
        self._soon(self._pay(call, event))

    async def _pay(self, call: LocalCall, event: events.Event) -> None:
        until = asyncio.get_running_loop().time() + _OWED_FOR_S
        attempt = 0
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_OWED_BACKOFF_S[min(attempt, len(_OWED_BACKOFF_S) - 1)])
            attempt += 1
            try:
                await self._decide(call, event, told=True)
            except Unavailable:
                continue
            except MinuetError:
                pass  # decided otherwise meanwhile, by somebody whose commit came first
            self._unbind(call, event)
            return
        call.owed.remove(event)
        logger.error("restriction could not be stored", call_id=call.id, event_type=type(event).__name__)

    async def _note(self, call_id: CallId, live: LiveSession, event_of: EventOf) -> None:
        try:
            call = await self._find(call_id)
            await self._decide(call, event_of(self.seat_in(call, live.user_id)))
        except Unavailable:
            raise
        except MinuetError as error:
            logger.debug("call did not care", call_id=call_id, code=error.code)

    async def _decide_quietly(self, call: LocalCall, event: events.Event) -> None:
        for pause_s in _OWED_BACKOFF_S:
            try:
                await self._decide(call, event)
            except Unavailable:
                await asyncio.sleep(pause_s)
            except MinuetError as error:
                logger.debug("call did not care", call_id=call.id, code=error.code)
                return
            else:
                return
        logger.warning("event of a call was lost", call_id=call.id, event_type=type(event).__name__)

    async def _commit_refusals(self, call: LocalCall) -> None:
        # Once a seat may have no more room for lines, mostly sums are left to bring up to date.
        has_room = len(call.stored.call.refused) < MAX_REFUSED_LINES_OF_SEAT
        await asyncio.sleep(_REFUSALS_KEPT_S if has_room else _SUMS_KEPT_S)
        for (seat, code), count in self._refusals.pop(call.id).items():
            await self._decide_quietly(call, events.RelayRefused(seat, code, count))

    # Timers.

    def _timer_fired(self, call_id: CallId) -> None:
        self._soon(self._fire(call_id))

    async def _fire(self, call_id: CallId) -> None:
        call = self._local.get(call_id)
        if call is None:
            return
        now_ms = self._clock.now_ms()
        self.expire_offers(call, now_ms)
        due_at = call.view.next_deadline_at
        if due_at is not None and due_at <= now_ms:
            self._metrics.late_timers.observe((now_ms - due_at) / 1000)
            try:
                await self._decide(call, events.TimerFired())
            except Unavailable:
                self._deadlines.schedule(call_id, now_ms + _RETRY_MS)
                return
            except MinuetError as error:
                logger.warning("timer of a lost call", call_id=call_id, code=error.code)
                return
        self.retime(call)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()
            raise RuntimeError("calls are not being served")
        self._tasks.create_task(_logged(work))


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    # One call's failure must not end the task group that serves all of them.
    try:
        await work
    except Exception:
        logger.exception("work of a call failed")
