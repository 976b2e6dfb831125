"""What follows a committed change of a call: telling its seats and moving tickets.

Decides only the order: sessions of this node hear the new state, then the effects are done one by one. What seats on
other nodes have to hear is handed back: `signaling.telling` brings it there. All of it may be repeated.
"""

from collections.abc import Sequence

import msgspec
import structlog

from base.clock import ServerClock
from base.errors import Unavailable
from base.ids import NodeId
from matchmaker.lobby import Lobby
from matchmaker.matches import SeatRef
from signaling.call import effects as do
from signaling.call.news import news
from signaling.call.record import Call
from signaling.call.states import SEATS, TALKING, EndReason, Seat, State
from signaling.call.view import call_state, must_hear
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall
from signaling.node_frames import Told
from signaling.ports import StoredCall
from signaling.protocol.messages.call import CallIceServers
from signaling.protocol.messages.family import ServerMessage
from signaling.router import Router
from signaling.turn import IceServers, NoIceServers, mint

logger = structlog.get_logger(__name__)


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

    async def follow(
        self,
        before: Call | None,
        stored: StoredCall,
        effects: Sequence[do.Effect],
        *,
        told_here: bool = False,
    ) -> list[Told]:
        """Does everything that a commit of this node asks for; `told_here` where its own sessions know already.

        Returns: what seats elsewhere have to hear.
        """
        call = stored.call
        if not told_here:
            self.show(before, call)
        told: list[Told] = []
        for effect in effects:
            for seat, message in await self._do(call, effect):
                live = self.session_of(call, seat)
                if live is None:
                    told.append(Told(seat, message.TYPE, msgspec.to_builtins(message)))
                elif not told_here:
                    live.push(message)
        return told

    def hear(self, before: Call | None, call: Call, told: Sequence[Told]) -> None:
        """Tells the seats of this node what another node committed."""
        self.show(before, call)
        for item in told:
            live = self.session_of(call, item.seat)
            if live is not None:
                live.push_raw(item.type, item.data)
        self._settle_all(call)

    def catch_up(self, before: Call | None, call: Call) -> None:
        """Tells the seats of this node what the record says that they have missed."""
        self.show(before, call)
        for seat in SEATS:
            live = self.session_of(call, seat)
            if live is None or before is None:
                continue
            for effect in news(before, call, seat):
                if isinstance(effect, do.Send):
                    live.push(effect.message)
                else:
                    for _, message in self._mint(call, seat):
                        live.push(message)
        self._settle_all(call)

    def show(self, before: Call | None, call: Call) -> None:
        """Lets the sessions of this node see the call as it stands now."""
        for seat in SEATS:
            live = self.session_of(call, seat)
            if live is None:
                continue
            if must_hear(seat, before, call):
                live.push(call_state(call, seat, self._clock.now_ms()))
            self._move(live, call, seat)

    def tell_only(self, call: Call, effects: Sequence[do.Effect]) -> None:
        """Tells the sessions of this node, and nobody else, what a restriction means that is not committed yet."""
        for effect in effects:
            if isinstance(effect, do.Send):
                live = self.session_of(call, effect.seat)
                if live is not None:
                    live.push(effect.message)

    def session_of(self, call: Call, seat: Seat) -> LiveSession | None:
        record = call.seat(seat)
        return self._router.here(record.node_id, record.session_id)

    # How it goes on inside.

    def _move(self, live: LiveSession, call: Call, seat: Seat) -> None:
        record = call.seat(seat)
        if live.call_id != call.call_id:
            return
        if call.state in TALKING or (record.freed and not record.requeued):
            live.ticket = None
        if record.freed:
            live.leave_call(call.call_id)
            self._hub.wake(live)

    async def _do(self, call: Call, effect: do.Effect) -> list[tuple[Seat, ServerMessage]]:
        """Does one effect; returns what seats have to hear of it."""
        match effect:
            case do.Send(seat, message):
                return [(seat, message)]
            case do.SendIceServers(seat):
                return self._mint(call, seat)
            case do.OpenConnection() | do.CloseMedia():
                # A connection is written, and then told, by whoever was asked for it, or by the recorder.
                return []
            case _:
                await self._move_ticket(call, effect)
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
                    await self._lobby.remember_pair(
                        call.a.user_id, call.b.user_id, call.policy.recent_partner_s
                    )
                case do.ReturnTicket(seat):
                    live = self.session_of(call, seat)
                    paused = not call.seat(seat).attached if live is None else _may_not_be_matched(live)
                    await self._lobby.release(seat_ref(call, seat), returns=True, paused=paused)
                    await self._settle_in(call, seat)
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

    def _settle_all(self, call: Call) -> None:
        for seat in SEATS:
            live = self.session_of(call, seat)
            if live is not None and call.seat(seat).requeued:
                live.run_soon(self._settle_in(call, seat))

    async def _settle_in(self, call: Call, seat: Seat) -> None:
        """A returned ticket names the session that had it; where that is another by now, or away, the pool is told.

        A device that is away has its place kept from then on by `Tickets`.
        """
        live = self.session_of(call, seat)
        if live is None or live.ticket is None or live.ticket.ticket_id != call.seat(seat).ticket_id:
            return
        if _may_not_be_matched(live):
            await self._lobby.pause(live.ticket)
            return
        ticket = msgspec.structs.replace(live.ticket, session_id=live.id, node_id=self._router.node_id)
        if ticket != live.ticket:
            live.ticket = ticket
            await self._lobby.resume(ticket)


def _may_not_be_matched(live: LiveSession) -> bool:
    return live.away or not live.is_attached


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


def is_hosted(local: LocalCall, node_id: NodeId) -> bool:
    """Whether a seat of the call has its session on this node, so that its timers are this node's to fire."""
    call = local.view
    return call.state is not State.ENDED and any(call.seat(seat).node_id == node_id for seat in SEATS)
