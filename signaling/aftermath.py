"""What follows a committed change of a call: telling its seats and moving tickets.

Decides the order: sessions of this node hear the new state, then the effects are done one by one; seats elsewhere are
told, by `signaling.telling`, before anybody goes back to the queue. And decides what a seat hears that was told an older
change last: everything that follows from the two records, and nothing twice. All of it may be repeated.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import structlog

from base.clock import ServerClock
from base.errors import Unavailable
from base.ids import CallId, SessionId, UserId
from matchmaker.lobby import Lobby, Standing
from matchmaker.matches import SeatRef
from signaling.call import effects as do
from signaling.call.news import call_ended, news
from signaling.call.record import Call
from signaling.call.states import SEATS, TALKING, EndReason, Seat, State
from signaling.call.view import call_state, must_hear
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall
from signaling.node_frames import Told
from signaling.protocol.messages.call import CallIceServers
from signaling.protocol.messages.family import ServerMessage
from signaling.router import Router
from signaling.turn import IceServers, NoIceServers, mint

logger = structlog.get_logger(__name__)

# A connection is written, and then told, by whoever was asked for it, or by the recorder.
_SAYING = (do.Send, do.SendIceServers, do.OpenConnection, do.CloseMedia)
_TOLD_WITHIN_S: Final = 0.3
_LOOK_S: Final = 0.01
_LOOKS: Final = 100
_RETURN_BACKOFF_S: Final = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)


class Aftermath:
    """Carries out what the call's rules decided."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        lobby: Lobby,
        clock: ServerClock,
        ice: IceServers,
    ) -> None:
        self._hub = hub
        self._router = router
        self._lobby = lobby
        self._clock = clock
        self._ice = ice
        self._moving: set[asyncio.Task[None]] = set()
        self._returning: Counter[SessionId] = Counter()
        """Tickets on their way back to the queue, by the session that has them."""

    async def follow(
        self,
        local: LocalCall,
        before: Call,
        effects: Sequence[do.Effect],
        tell_others: Callable[[Sequence[Told]], None],
        *,
        told_here: bool = False,
    ) -> None:
        """Does everything that a commit of this node asks for; `told_here` where its own sessions know already.

        First whoever may queue again is freed, then all are told, each in one go, then tickets go back: so that nobody is
        refused who was told to be free, no session moves to another node with half of the news, and the next match
        does not overtake the end of this call. `tell_others` is given what seats elsewhere have to hear, once.
        """
        freeing = await self._free(local.stored.call, effects)
        call = local.as_told()
        messages = [said for effect in effects for said in self._said(call, effect)]
        returning = [
            live.id
            for effect in effects
            if isinstance(effect, do.ReturnTicket)
            and (live := self.session_of(call, effect.seat)) is not None
        ]
        self._returning.update(returning)
        try:
            tell_others(
                [
                    Told(seat, message.TYPE, msgspec.to_builtins(message))
                    for seat, message in messages
                    if self.session_of(call, seat) is None
                ]
            )
            for seat in SEATS:
                known = local.shown.get(seat, before)
                described = None if told_here else [message for to, message in messages if to == seat]
                self._show(local, seat, call, known, described)
            if freeing is not None:
                await freeing
            for effect in effects:
                if isinstance(effect, do.SettleMatch | do.ReturnTicket):
                    await self._move_ticket(call, effect)
        finally:
            self._is_back(*returning)

    async def _free(self, call: Call, effects: Sequence[do.Effect]) -> asyncio.Task[None] | None:
        """Lets people go; what takes longer than people should wait for their news goes on beside."""
        first = [effect for effect in effects if isinstance(effect, do.RememberPartners | do.ReleaseTicket)]
        if not first:
            return None

        async def free() -> None:
            if call.live_since is not None and any(
                isinstance(effect, do.RememberPartners) for effect in first
            ):
                # As a rule both part at once.
                await self._part(
                    call, [effect.seat for effect in first if isinstance(effect, do.ReleaseTicket)]
                )
                return
            for effect in first:
                await self._move_ticket(call, effect)

        task = asyncio.create_task(free())
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)
        await asyncio.wait({task}, timeout=_TOLD_WITHIN_S)
        return task

    async def settle(self, local: LocalCall, effects: Sequence[do.Effect]) -> None:
        """Moves tickets, and says nothing to anybody."""
        for effect in effects:
            if not isinstance(effect, _SAYING):
                await self._move_ticket(local.stored.call, effect)

    async def forget(self, user_id: UserId, call_id: CallId) -> None:
        """Lets a user go from a call of which there is no record any more. Raises: Unavailable."""
        await self._lobby.free(user_id, call_id, talked=False)

    async def settled(self, session_id: SessionId) -> None:
        """Waits until a ticket that is on its way back to the queue is there; for a second at most."""
        for _ in range(_LOOKS):
            if session_id not in self._returning:
                return
            await asyncio.sleep(_LOOK_S)

    def hear(self, local: LocalCall, before: Call | None, told: Sequence[Told] | None) -> None:
        """Tells the seats of this node what others committed; `before` is what was known of the call.

        `told` is what the last change had to say. Where that is not known, or more has happened than the last change,
        each seat is told what follows from the record.
        """
        if local.lost is not None:
            return  # it is told when it is whole again
        call = local.as_told()
        for seat in SEATS:
            known = local.shown.get(seat, before)
            live = self.session_of(call, seat)
            was_in_it = live is not None and live.call_id == call.call_id
            described = None if told is None else ()
            if self._show(local, seat, call, known, described) and live is not None:
                for item in told or ():
                    if item.seat == seat:
                        live.push_raw(item.type, item.data)
            if live is not None and was_in_it and call.seat(seat).requeued:
                self._returning[live.id] += 1
                live.run_soon(self._settle_soon(call, seat, live))

    def end_for(self, local: LocalCall, seat: Seat, live: LiveSession) -> None:
        """Tells a session, which still believes to be in the call, that it is over for it."""
        call = local.as_told()
        if live.call_id != call.call_id or not call.seat(seat).freed:
            return
        call = _as_newer(local.shown.get(seat), call, seat)
        local.shown[seat] = call
        live.push_all((call_state(call, seat, self._clock.now_ms()), call_ended(call, seat)))
        self._move(live, call, seat)
        if call.seat(seat).requeued:
            # The ticket names the session, or the node, that the record does.
            self._returning[live.id] += 1
            live.run_soon(self._settle_soon(call, seat, live))

    def tell_only(self, local: LocalCall, call: Call, effects: Sequence[do.Effect]) -> None:
        """Tells the sessions of this node, and nobody else, what a restriction means that is not committed yet."""
        for seat in SEATS:
            known = local.shown.get(seat, local.stored.call)
            described = [
                effect.message for effect in effects if isinstance(effect, do.Send) and effect.seat == seat
            ]
            self._show(local, seat, call, known, described)

    def session_of(self, call: Call, seat: Seat) -> LiveSession | None:
        record = call.seat(seat)
        return self._router.here(record.node_id, record.session_id)

    # How it goes on inside.

    def _is_back(self, *session_ids: SessionId) -> None:
        for session_id in session_ids:
            self._returning[session_id] -= 1
            if self._returning[session_id] <= 0:
                del self._returning[session_id]

    def _show(
        self,
        local: LocalCall,
        seat: Seat,
        call: Call,
        known: Call | None,
        described: Sequence[ServerMessage] | None,
    ) -> bool:
        """Lets a seat's session see the call as it stands, unless it was shown something newer already.

        `described`: what the change has to say to it, where somebody knows. Where this is the very next change after what it
        knew, it is told that, else whatever follows from the two records. Returns: whether it was the next one.
        """
        live = self.session_of(call, seat)
        if live is None:
            local.shown.pop(seat, None)
            return False
        if live.call_id != call.call_id:
            # It was never told of the call, or has left it, as it does when it is told the end.
            return False
        call = _as_newer(known, call, seat)
        if known is not None and call.version <= known.version:
            return False
        local.shown[seat] = call
        messages: list[ServerMessage] = []
        if must_hear(seat, known, call):
            messages.append(call_state(call, seat, self._clock.now_ms()))
        is_next = known is None or (described is not None and call.version == known.version + 1)
        if is_next:
            messages += described or ()
        elif known is not None:
            messages += [
                message for effect in news(known, call, seat) for _, message in self._said(call, effect)
            ]
        live.push_all(messages)
        self._move(live, call, seat)
        return is_next

    def _move(self, live: LiveSession, call: Call, seat: Seat) -> None:
        record = call.seat(seat)
        if live.call_id != call.call_id:
            return
        if call.state in TALKING or (record.freed and not record.requeued):
            live.ticket = None
        if record.freed:
            live.leave_call(call.call_id)
            self._hub.wake(live)

    def _said(self, call: Call, effect: do.Effect) -> list[tuple[Seat, ServerMessage]]:
        """What a seat has to hear of an effect."""
        match effect:
            case do.Send(seat, message):
                return [(seat, message)]
            case do.SendIceServers(seat):
                return self._mint(call, seat)
            case _:
                return []

    def _mint(self, call: Call, seat: Seat) -> list[tuple[Seat, ServerMessage]]:
        try:
            minted = mint(self._ice, call, seat, self._clock.now_ms())
        except NoIceServers:
            return []  # over already, when the effect was repeated
        return [
            (
                seat,
                CallIceServers(
                    call_id=call.call_id, ice_servers=list(minted.servers), expires_at=minted.expires_at
                ),
            )
        ]

    async def _move_ticket(
        self,
        call: Call,
        effect: do.SettleMatch | do.RememberPartners | do.ReturnTicket | do.ReleaseTicket,
    ) -> None:
        try:
            match effect:
                case do.SettleMatch():
                    await self._lobby.went_live(seat_ref(call, "a"))
                case do.RememberPartners():
                    await self._part(call, ())
                case do.ReturnTicket(seat):
                    live = self.session_of(call, seat)
                    paused = not call.seat(seat).attached if live is None else _may_not_be_matched(live)
                    held = None if live is None else live.ticket
                    ticket = held if held and held.ticket_id == call.seat(seat).ticket_id else None
                    await self._lobby.release(
                        seat_ref(call, seat), returns=True, paused=paused, ticket=ticket
                    )
                    await self._settle_in(call, seat, self.session_of(call, seat))
                case do.ReleaseTicket(seat) if call.live_since is not None:
                    # The match was settled when the call went live, and when the two may meet again is the policy's.
                    await self._lobby.free(call.seat(seat).user_id, call.call_id)
                case do.ReleaseTicket(seat):
                    # Whoever declines is the one who does not go back.
                    declined = call.reason is EndReason.DECLINED
                    await self._lobby.release(seat_ref(call, seat), returns=False, declined=declined)
        except Unavailable:
            # The pool's owner reviews matches until they are resolved, and a stale activity is repaired when met.
            logger.warning("could not move a ticket", call_id=call.call_id, step=type(effect).__name__)

    async def _part(self, call: Call, freed: Collection[Seat]) -> None:
        try:
            await self._lobby.part(
                (call.a.user_id, call.b.user_id),
                call.call_id,
                apart_s=call.policy.recent_partner_s,
                free=[call.seat(seat).user_id for seat in freed],
            )
        except Unavailable:
            logger.warning("could not part two people", call_id=call.call_id)

    async def _settle_soon(self, call: Call, seat: Seat, live: LiveSession) -> None:
        """As `_settle_in`, where another node returns the ticket, which says so before it does it."""
        try:
            for pause_s in _RETURN_BACKOFF_S:
                if await self._settle_in(call, seat, live, anyway=True) is not Standing.MATCHED:
                    return
                await asyncio.sleep(pause_s)
        except Unavailable:
            logger.warning("could not look after a returned ticket", call_id=call.call_id)
        finally:
            self._is_back(live.id)

    async def _settle_in(
        self, call: Call, seat: Seat, live: LiveSession | None, *, anyway: bool = False
    ) -> Standing | None:
        """A returned ticket names the session that had it; where that is another by now, or away, the pool is told.

        A device that is away has its place kept from then on by `Tickets`.
        """
        ticket_id = call.seat(seat).ticket_id
        if live is None or live.is_over:
            return None
        if live.ticket is None and live.call_id is None and live.last_call_id == call.call_id:
            # It came into the call without it, from a node that died. Where it has left another call since, it is there that
            # the ticket went, and may be going.
            live.ticket = await self._lobby.ticket(call.intent, ticket_id)
        if live.ticket is None or live.ticket.ticket_id != ticket_id:
            return None
        if _may_not_be_matched(live):
            return await self._lobby.pause(live.ticket)
        ticket = msgspec.structs.replace(live.ticket, session_id=live.id, node_id=self._router.node_id)
        if ticket == live.ticket and not anyway:
            return None
        standing = await self._lobby.resume(ticket)
        if standing is not Standing.MATCHED:
            live.ticket = ticket
        return standing


def _may_not_be_matched(live: LiveSession) -> bool:
    return live.away or not live.is_attached


def _as_newer(known: Call | None, call: Call, seat: Seat) -> Call:
    """The end of the call for a seat, always newer than what the seat knows.

    What was told while it waited for the store has a number that another change, stored first, has taken too.
    """
    if known is None or known.seat(seat).freed or not call.seat(seat).freed:
        return call
    least = known.version - known.seat(seat).hidden + 1 + call.seat(seat).hidden
    return msgspec.structs.replace(call, version=max(call.version, least))


def seat_ref(call: Call, seat: Seat) -> SeatRef:
    """One side of the match that the call came from."""
    record = call.seat(seat)
    return SeatRef(
        intent=call.intent,
        call_id=call.call_id,
        seat=seat,
        user_id=record.user_id,
        peer_id=call.peer(seat).user_id,
        ticket_id=record.ticket_id,
    )


def is_hosted(local: LocalCall, router: Router) -> bool:
    """Whether a seat of the call has its session on this node, so that its timers are this node's to fire."""
    call = local.view
    return call.state is not State.ENDED and (
        router.is_this(call.a.node_id) or router.is_this(call.b.node_id)
    )
