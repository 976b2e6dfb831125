"""Devices and the seats of their calls: who sits down, steps away, comes back, or leaves for good.

Decides what a session is told of the call that it comes to, and which node the record names for it. Refuses to know
what a seat without its device comes to: that is `signaling.call`'s.
"""

import structlog

from base.clock import ServerClock
from base.errors import MinuetError, Unavailable
from base.ids import CallId, SessionId, UserId
from matchmaker.activity import InCall, Queued
from matchmaker.ports import Slot
from signaling.aftermath import Aftermath
from signaling.call import events
from signaling.call.effects import ReleaseTicket, ReturnTicket
from signaling.call.record import Call
from signaling.call.states import RELAYING, Seat, State
from signaling.call.view import call_state
from signaling.calls import CallService, seat_in
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls
from signaling.protocol.messages.call import CallState
from signaling.router import Router

logger = structlog.get_logger(__name__)


class Seating:
    """Tells calls where the devices of their people are."""

    def __init__(
        self, calls: CallService, local: LocalCalls, router: Router, aftermath: Aftermath, clock: ServerClock
    ) -> None:
        self._calls = calls
        self._local = local
        self._router = router
        self._aftermath = aftermath
        self._clock = clock

    async def attach(self, call_id: CallId, live: LiveSession) -> CallState | None:
        """The device is here; the call as it sees it, None where it is over for it or not this device's."""
        try:
            call = await self._calls.find(call_id)
            seat = seat_in(call, live.user_id)
            is_new = call.view.seat(seat).session_id != live.id
            await self._calls.decide(
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
                call.shown[seat] = call.as_told()
                await self._calls.decide(call, events.MediaFailed(seat))
        except Unavailable:
            raise
        except MinuetError:
            return None
        # Not by what is being committed: whose tickets that gives back, and who hears of it, is not decided yet.
        told = call.as_told()
        record = told.seat(seat)
        if told.state is State.ENDED or record.freed or record.session_id != live.id:
            self._aftermath.end_for(call, seat, live)
            return None
        live.enter_call(call_id)
        if is_new:
            # Its snapshot has the call as it stands now.
            call.shown[seat] = told
        return call_state(told, seat, self._clock.now_ms())

    def seat_of(self, live: LiveSession) -> tuple[Call, Seat] | None:
        """The call that a session sits in, as this node knows it, and where; None where that is over for it."""
        call = None if live.call_id is None else self._local.get(live.call_id)
        seat = None if call is None else call.view.seat_of(live.user_id)
        if call is None or seat is None:
            return None
        record = call.view.seat(seat)
        if call.view.state is State.ENDED or record.freed or record.session_id != live.id:
            return None
        return call.view, seat

    async def sit_down(self, call: LocalCall, seat: Seat, live: LiveSession) -> None:
        """Has the record name where the session is, which may have moved since its ticket was matched.

        Where the call is over by then, nobody else can tell the session: the record names another. Raises: Unavailable.
        """
        record = call.view.seat(seat)
        if live.is_over or (record.session_id, record.node_id) == (live.id, self._router.node_id):
            return
        attached = events.SeatAttached(seat, live.id, self._router.node_id, live.device_id)
        # Another node may have the session by the time that this is stored: then it has said so itself.
        await self._calls.decide_if_it_cares(call, attached, still=lambda: not live.is_over)
        self._aftermath.end_for(call, seat, live)

    async def place_after(self, call_id: CallId, live: LiveSession) -> Queued | None:
        """Lets the user go from a call that is over for them; where the device waits again, None where it does not.

        Whoever ended the call may not have come so far, or have died before: what follows from the end is done here, and may
        be done twice. A call that goes on, with another session of the device, is left alone. Raises: Unavailable.
        """
        call = await self._calls.known(call_id)
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

    async def detach(self, call_id: CallId, live: LiveSession) -> None:
        """The device lost its socket and may come back. Raises: Unavailable."""
        call = await self._calls.known(call_id)
        seat = None if call is None else call.view.seat_of(live.user_id)
        if call is None or seat is None:
            return
        known_at = call.stored.call.seat(seat).node_id
        if not self._router.is_this(known_at) and self._router.here(known_at, live.id) is None:
            known_at = self._router.node_id  # the session has gone on elsewhere
        await self._calls.decide_if_it_cares(
            call, events.SeatDetached(seat, live.id, call.budgets[seat].spent, known_at)
        )

    async def leave(self, call_id: CallId, live: LiveSession) -> None:
        """The device has left for good. Raises: Unavailable."""
        call = await self._calls.known(call_id)
        seat = None if call is None else call.view.seat_of(live.user_id)
        if call is not None and seat is not None:
            await self._calls.decide_if_it_cares(call, events.SessionEnded(seat, live.id))

    async def stand_up(self, live: LiveSession) -> None:
        """Passes by a call that the device still decides about: it is about to wait for another. Raises: Unavailable."""
        call_id = live.call_id
        if call_id is None:
            return
        try:
            call, _ = await self._calls.participant(call_id, live.user_id)
            if call.state is State.DECIDING:
                await self._calls.act(call_id, live.user_id, events.QueueJoined, device_id=live.device_id)
        except Unavailable:
            raise
        except MinuetError:
            # The call is gone or over; the lobby has the last word on whether its user may queue.
            live.leave_call(call_id)

    async def settled(self, live: LiveSession) -> None:
        """Waits until a ticket that is on its way back to the queue is there; for a second at most."""
        await self._aftermath.settled(live.id)

    def owes_release(self, user_id: UserId) -> bool:
        """Whether a user was told here that a call is over which the store does not know to be over yet."""
        return self._local.owes_release(user_id)

    async def lost(self, user_id: UserId, session_id: SessionId, slot: Slot) -> None:
        """A session died with its node; a call that it was in waits for its device to come back. Raises: Unavailable."""
        if not isinstance(slot.activity, InCall):
            return
        call = await self._calls.stored(slot.activity.call_id)
        seat = None if call is None else call.view.seat_of(user_id)
        if call is not None and seat is not None:
            await self._calls.decide_quietly(call, events.SeatDetached(seat, session_id))
