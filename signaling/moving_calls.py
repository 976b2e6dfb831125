"""The call of a session that moves: what its node knows of it goes along, so that the next one judges alike.

Decides whose knowledge counts. A node with the other seat's session has watched every description of the call itself, and
keeps to what it saw; any other goes by what arrives. Restrictions that wait for the store hold here too, from the first
moment, and are stored by whoever comes to it first.
"""

import structlog

from base.clock import ServerClock
from base.errors import MinuetError
from base.ids import CallId, UserId
from signaling.call import events
from signaling.call.record import Call, decode, encode
from signaling.call.states import SEATS, Seat, other
from signaling.calls import CallService
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls, Owed
from signaling.moved import MovedCall, event_of, owed
from signaling.node_frames import CallCommitted
from signaling.ports import StoredCall

logger = structlog.get_logger(__name__)


class MovingCalls:
    """Takes calls apart and puts them together, with the sessions that are in them."""

    def __init__(self, hub: Hub, local: LocalCalls, calls: CallService, clock: ServerClock) -> None:
        self._hub = hub
        self._local = local
        self._calls = calls
        self._clock = clock

    def known(self, call_id: CallId, user_id: UserId) -> MovedCall | None:
        """What this node knows of the call; None where it does not know it."""
        call = self._local.get(call_id)
        seat = None if call is None else call.view.seat_of(user_id)
        if call is None or seat is None:
            return None
        return MovedCall(
            call_id=call_id,
            record=encode(call.stored.call),
            rev=call.stored.rev,
            shown=encode(shown) if (shown := call.shown.get(seat)) is not None else b"",
            seat=seat,
            budget=call.budgets[seat].facts(self._clock.monotonic_ms()),
            negotiations=call.negotiations.facts(),
            owed=[
                *(owed(one.event, one.told_at, encode(one.told)) for one in call.owed),
                *map(owed, call.bound),
            ],
            lost=b"" if call.lost is None else encode(call.lost.call),
            lost_rev="" if call.lost is None else call.lost.rev,
            revoked_at=call.revoked_at,
        )

    def departed(self, call_id: CallId) -> None:
        """A session in the call has left; where it was the last here, what was negotiated goes on unseen from now on."""
        call = self._local.get(call_id)
        if call is None:
            return
        # They keep the session, and this node may never hear of the change that would have them looked for anew.
        call.ways.clear()
        if not any(self._sits_here(call, seat) for seat in SEATS):
            call.negotiations.forget()

    def take_in(self, moved: MovedCall, record: Call, live: LiveSession) -> None:
        """Knows the call as the node knew it that `live` comes from, and tells it what that node did not.

        Raises: msgspec.MsgspecError for a record that this release cannot read; then nothing has changed.
        """
        shown = decode(moved.shown) if moved.shown else record
        told = StoredCall(decode(moved.lost), moved.lost_rev) if moved.lost else None
        restrictions = [
            (event, one.told_at, decode(one.told) if one.told else None)
            for one in moved.owed
            if (event := event_of(one)) is not None
        ]
        call = self._local.keep(StoredCall(record, moved.rev))
        call.hold_to(told, moved.revoked_at, self._clock.now_ms())
        call.shown[moved.seat] = shown
        same_connections = call.stored.call.resets == record.resets
        if same_connections and not self._sits_here(call, other(moved.seat)):
            call.negotiations.go_on(moved.negotiations)
        call.budgets[moved.seat].keep_to(moved.budget, self._clock.monotonic_ms())
        for event, told_at, as_told in restrictions:
            if as_told is not None:
                self._calls.go_on_owing(call, Owed(event, told_at, as_told))
            elif call.bind(event, self._clock.now_ms()):
                live.run_soon(self._settle(call, event))
        # This node may know more of the call than the one that the session comes from, through the other seat.
        stored = call.stored
        self._calls.committed(
            CallCommitted(moved.call_id, encode(stored.call), stored.rev, told=[], again=True)
        )

    def _sits_here(self, call: LocalCall, seat: Seat) -> bool:
        session = self._hub.session(call.view.seat(seat).session_id)
        return session is not None and not session.is_over

    async def _settle(self, call: LocalCall, event: events.Event) -> None:
        try:
            # Where the store is away, this leaves it owed by this node, too.
            await self._calls.decide(call, event)
        except MinuetError as error:
            logger.debug("restriction was settled elsewhere", call_id=call.id, code=error.code)
        finally:
            call.release(event, self._clock.now_ms())
            self._calls.watch.retime(call)
