"""Calls in motion: what clients, sessions, other nodes, relays and time want of them.

Decides which call is meant, which event that is, and when timers fire. What the event comes to is `signaling.call`'s,
and how a change is committed and told is `signaling.commits`'.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, SessionId, UserId
from base.policy import IntentPolicy
from matchmaker.activity import InCall, Queued
from matchmaker.matches import Match
from matchmaker.ports import Slot
from signaling.aftermath import Aftermath, is_hosted
from signaling.call import events
from signaling.call.change import MAX_REFUSED_LINES_OF_SEAT, Decision
from signaling.call.create import propose
from signaling.call.effects import ReleaseTicket, ReturnTicket
from signaling.call.record import Call, decode
from signaling.call.rules import restricts
from signaling.call.states import RELAYING, SEATS, Seat, State
from signaling.call.view import call_state
from signaling.commits import Commits
from signaling.deadlines import Deadlines
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.node_frames import CallCommitted, CallHeard
from signaling.ports import CallStore, StoredCall
from signaling.protocol.messages.call import CallState
from signaling.recent_restrictions import RecentRestrictions
from signaling.router import Router

logger = structlog.get_logger(__name__)

EventOf = Callable[[Seat], events.Event]

_RETRY_MS: Final = 500
_REASSERTED_AT_ONCE: Final = 32
_REASSERTED_WITHIN_S: Final = 0.5
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
        self._commits = Commits(store, local, router, aftermath, clock, metrics)
        self._commits.retime = self.retime
        self._restrictions = RecentRestrictions(self._commits.say_again, clock.monotonic_ms)
        self._commits.restricted = self._restrictions.note
        self.restrict_again = self._restrictions.say_again
        self.expire_offers: Callable[[LocalCall, int], None] = lambda _call, _now: None
        """Told when offers may have run out; set by whoever relays."""
        self.restoring: Callable[[], int] = lambda: 0
        """For how many more ms the store is being put right, in which nothing is permitted; set by whoever knows."""
        self.doubt: Callable[[], None] = lambda: None
        """Told when the store has lost a call; set by whoever looks what else it has lost."""
        self._commits.doubt = self._doubt

    async def run(self) -> None:
        """Serves timers and what is owed, until cancelled."""
        try:
            await self._commits.run()
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
        event = event_of(seat)
        if (wait_ms := self.restoring()) and not restricts(call.view, event):
            raise Unavailable("what was lost is being put back", retry_after_ms=wait_ms)
        decision = await self._commits.decide(call, event)
        self._metrics.command_seconds.observe(perf_counter() - started)
        return decision.reply or {}

    def owes_release(self, user_id: UserId) -> bool:
        """Whether a user was told here that a call is over which the store does not know to be over yet."""
        return self._local.owes_release(user_id)

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
            await self._commits.decide(
                call,
                events.SeatAttached(seat, live.id, self._router.node_id, live.device_id),
                still=lambda: not live.is_over,
            )
            if live.is_over:
                return None
            call = self._local.keep(call.stored)
            if is_new and call.negotiations.is_open and call.view.state in RELAYING:
                # The other side waits for an answer to something that the new session never saw, and has to hear that
                # both begin anew.
                live.enter_call(call_id)
                call.shown[seat] = call.view
                await self._commits.decide(call, events.MediaFailed(seat))
        except Unavailable:
            raise
        except MinuetError:
            return None
        record = call.view.seat(seat)
        if call.view.state is State.ENDED or record.freed or record.session_id != live.id:
            self._aftermath.end_for(call, seat, live)
            return None
        live.enter_call(call_id)
        if is_new:
            # Its snapshot has the call as it stands now.
            call.shown[seat] = call.view
        return call_state(call.view, seat, self._clock.now_ms())

    async def sit_down(self, call: LocalCall, seat: Seat, live: LiveSession) -> None:
        """Has the record name where the session is, which may have moved since its ticket was matched.

        Where the call is over by then, nobody else can tell the session: the record names another. Raises: Unavailable.
        """
        record = call.view.seat(seat)
        if live.is_over or (record.session_id, record.node_id) == (live.id, self._router.node_id):
            return
        attached = events.SeatAttached(seat, live.id, self._router.node_id, live.device_id)
        # Another node may have the session by the time that this is stored: then it has said so itself.
        await self._decide_about(call, attached, still=lambda: not live.is_over)
        self._aftermath.end_for(call, seat, live)

    async def place_after(self, call_id: CallId, live: LiveSession) -> Queued | None:
        """Lets the user go from a call that is over for them; where the device waits again, None where it does not.

        Whoever ended the call may not have come so far, or have died before: what follows from the end is done here, and may
        be done twice. A call that goes on, with another session of the device, is left alone. Raises: Unavailable.
        """
        call = self._local.get(call_id) or await self._loaded(call_id)
        seat = None if call is None else call.stored.call.seat_of(live.user_id)
        if call is None or seat is None:
            await self._aftermath.forget(live.user_id, call_id)
            return None
        record = call.stored.call.seat(seat)
        if not record.freed:
            return None
        await self._aftermath.settle(call, [ReturnTicket(seat) if record.requeued else ReleaseTicket(seat)])
        if not record.requeued or record.device_id != live.device_id:
            return None
        return Queued(call.stored.call.intent, record.ticket_id)

    async def settled(self, live: LiveSession) -> None:
        """Waits until a ticket that is on its way back to the queue is there; for a second at most."""
        await self._aftermath.settled(live.id)

    async def detach(self, call_id: CallId, live: LiveSession) -> None:
        """The device lost its socket and may come back. Raises: Unavailable."""
        call = await self._of(call_id, live)
        if call is None:
            return
        seat = self.seat_in(call, live.user_id)
        known_at = call.stored.call.seat(seat).node_id
        if not self._router.is_this(known_at) and self._router.here(known_at, live.id) is None:
            known_at = self._router.node_id  # the session has gone on elsewhere
        await self._decide_about(call, events.SeatDetached(seat, live.id, call.budgets[seat].spent, known_at))

    async def leave(self, call_id: CallId, live: LiveSession) -> None:
        """The device has left for good."""
        call = await self._of(call_id, live)
        if call is not None:
            await self._decide_about(call, events.SessionEnded(self.seat_in(call, live.user_id), live.id))

    # What matches and other nodes tell.

    async def open(self, match: Match, policy: IntentPolicy) -> LocalCall | None:
        """Creates the call of a match unless it exists; None where it is too late for that. Raises: Unavailable."""
        call = self._local.get(match.call_id)
        if call is not None:
            return call
        proposed = propose(match, policy, self._clock.now_ms())
        stored = await self._store.create(proposed, claimed_at_ms=match.claimed_at_ms)
        return None if stored is None else self._commits.keep(stored)

    async def decide(self, call: LocalCall, event: events.Event) -> Decision:
        """Decides about an event of the server's own. Raises: CallRefused, Unavailable."""
        return await self._commits.decide(call, event)

    def committed(self, frame: CallCommitted) -> None:
        """Takes note of what another node committed, and acknowledges it."""
        stored = StoredCall(decode(frame.record), frame.rev)
        known = self._local.get(stored.call.call_id)
        self._commits.learn(stored, None if frame.again else frame.told)
        self._commits.telling.heard(frame, stored.call.version)
        if (
            known is not None
            and stored.call.version <= known.stored.call.version
            and stored.rev != known.stored.rev
        ):
            # Old news, as a rule. But a node that commits on what the store forgot sends the like.
            self._commits.soon(self._verify(known))

    def acknowledged(self, frame: CallHeard) -> None:
        """A node knows what this one committed."""
        self._commits.telling.acknowledged(frame)

    async def tell_again(self, limit: int) -> int:
        """Tells nodes of changes that nobody seems to tell them; of how many. Raises: Unavailable."""
        return await self._commits.telling.sweep(limit)

    def receive(self, payload: bytes) -> None:
        """The inbox of a process without sessions."""
        self._commits.telling.receive(payload)

    async def catch_up(self, call_id: CallId) -> None:
        """Loads the record anew, because a peer's node is ahead of this one. Raises: Unavailable."""
        stored = await self._store.load(call_id)
        if stored is not None:
            self._commits.learn(stored, from_store=True)

    async def sweep(self, call_id: CallId) -> None:
        """Fires what is due in a call that no living node fires. Raises: Unavailable."""
        call = await self._loaded(call_id)
        if call is not None:
            await self._commits.decide(call, events.TimerFired())

    async def lost(self, user_id: UserId, session_id: SessionId, slot: Slot) -> None:
        """A session died with its node; a call that it was in waits for its device to come back. Raises: Unavailable."""
        if not isinstance(slot.activity, InCall):
            return
        call = await self._loaded(slot.activity.call_id)
        seat = None if call is None else call.view.seat_of(user_id)
        if call is not None and seat is not None:
            await self._commits.decide_quietly(call, events.SeatDetached(seat, session_id))

    async def put_back(self, call_id: CallId) -> bool:
        """As `reassert_all`, of one call; whether it was missing. Raises: Unavailable."""
        call = self._local.get(call_id)
        return call is not None and self._vouches_for(call) and await self._commits.reassert(call)

    async def reassert_all(self) -> int:
        """Puts back what the store has lost of the calls that are this node's to know, spread over half a second.

        Also those that ended in the last minute, which history may not have yet. Not those whose people are on other
        nodes by now: these know better. Returns: how many were missing. Raises: Unavailable.
        """
        at_once = asyncio.Semaphore(_REASSERTED_AT_ONCE)

        away: Unavailable | None = None

        async def reassert(call: LocalCall) -> bool:
            nonlocal away
            # By the id, which is random there: nodes and calls do not come all at once.
            await asyncio.sleep(_REASSERTED_WITHIN_S * UUID(call.id).bytes[-2] / 256)
            async with at_once:
                try:
                    return await self._commits.reassert(call)
                except Unavailable as error:
                    # The others may be on another primary; and what is tried again must not meet this try.
                    away = error
                except Exception:
                    # One record must not keep all others from being put back.
                    logger.exception("call could not be put back", call_id=call.id)
                return False

        answers = await asyncio.gather(*map(reassert, filter(self._vouches_for, self._local)))
        if away is not None:
            raise away
        return sum(answers)

    # What relays tell.

    def answered(self, call: LocalCall, _seat: Seat) -> None:
        """An answer has passed the gate: whoever may not send video has stopped by it."""
        self._close_windows(call)

    def retime(self, call: LocalCall) -> None:
        """Schedules the call's earliest timer, and closes the window after a revocation where nothing is left to stop."""
        hosted = is_hosted(call, self._router)
        self._deadlines.schedule(call.id, call.next_timer_at if hosted else None)
        if call.negotiations.answered and not call.negotiations.may_have_video:
            # Taken back before it was negotiated: nobody has an answer to give that would say so.
            self._close_windows(call)

    def count_refusal(self, call: LocalCall, seat: Seat, code: ErrorCode) -> None:
        """Counts a refused relay for the record; what comes within a second is one line of its log."""
        counts = self._refusals.get(call.id)
        if counts is None:
            counts = self._refusals[call.id] = Counter()
            self._commits.soon(self._commit_refusals(call))
        counts[seat, code] += 1

    def overspent(self, call: LocalCall, seat: Seat) -> None:
        """Ends a call in which nothing more can be negotiated; closing the socket would only bring it back."""
        self._commits.soon(self._commits.decide_quietly(call, events.SignalingLimitReached(seat)))

    # How it goes on inside.

    async def _find(self, call_id: CallId) -> LocalCall:
        call = self._local.get(call_id) or await self._loaded(call_id)
        if call is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return call

    async def _loaded(self, call_id: CallId) -> LocalCall | None:
        """The call as the store has it now."""
        stored = await self._store.load(call_id)
        if stored is None:
            return None
        kept = self._local.get(call_id)
        if kept is None:
            # Not kept: neither a REST request nor a sweep must make this node a host of the call.
            return self._local.of(stored)
        self._commits.learn(stored, from_store=True)
        return kept

    def _doubt(self) -> None:
        self.doubt()

    def _vouches_for(self, call: LocalCall) -> bool:
        record = call.stored.call
        seats = [record.seat(seat) for seat in SEATS if self._router.is_this(record.seat(seat).node_id)]
        if record.state not in RELAYING and record.state is not State.PROPOSED:
            return bool(seats)
        return any(self._router.here(seat.node_id, seat.session_id) is not None for seat in seats)

    def _close_windows(self, call: LocalCall) -> None:
        """By the last answer that was relayed, whoever may not send video sends none."""
        view = call.view
        if view.a.video_off_at is not None or view.b.video_off_at is not None:
            stopped = tuple(seat for seat in SEATS if not view.seat(seat).video_allowed)
            self._commits.soon(self._commits.decide_quietly(call, events.VideoStopped(stopped)))

    async def _verify(self, call: LocalCall) -> None:
        if call.has_closed_something:
            with suppress(Unavailable):
                await self._commits.verify(call)

    async def _of(self, call_id: CallId, live: LiveSession) -> LocalCall | None:
        """The call, if the session's user is in it."""
        call = self._local.get(call_id) or await self._loaded(call_id)
        return None if call is None or call.view.seat_of(live.user_id) is None else call

    async def _decide_about(
        self, call: LocalCall, event: events.Event, still: Callable[[], bool] = lambda: True
    ) -> None:
        try:
            await self._commits.decide(call, event, still=still)
        except Unavailable:
            raise
        except MinuetError as error:
            logger.debug("call did not care", call_id=call.id, code=error.code)

    async def _commit_refusals(self, call: LocalCall) -> None:
        # Once a seat may have no more room for lines, mostly sums are left to bring up to date.
        has_room = len(call.stored.call.refused) < MAX_REFUSED_LINES_OF_SEAT
        await asyncio.sleep(_REFUSALS_KEPT_S if has_room else _SUMS_KEPT_S)
        for (seat, code), count in self._refusals.pop(call.id).items():
            await self._commits.decide_quietly(call, events.RelayRefused(seat, code, count))

    # Timers.

    def _timer_fired(self, call_id: CallId) -> None:
        self._commits.soon(self._fire(call_id))

    async def _fire(self, call_id: CallId) -> None:
        call = self._local.get(call_id)
        if call is None:
            return
        now_ms = self._clock.now_ms()
        if call.view.state in RELAYING:
            self.expire_offers(call, now_ms)
        due_at = call.view.next_deadline_at
        if due_at is not None and due_at <= now_ms:
            self._metrics.late_timers.observe((now_ms - due_at) / 1000)
            try:
                await self._commits.decide(call, events.TimerFired())
            except Unavailable:
                self._deadlines.schedule(call_id, now_ms + _RETRY_MS)
                return
            except MinuetError as error:
                logger.warning("timer of a lost call", call_id=call_id, code=error.code)
                # Nobody else may have it either, so that this may go on: never without a pause.
                self._deadlines.schedule(call_id, now_ms + _RETRY_MS)
                return
        self.retime(call)
