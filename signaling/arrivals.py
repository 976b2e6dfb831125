"""Matches that arrive on this node: from a claimed pair of tickets to a proposed call.

Decides the steps and what is done when one fails: create the call if it is absent, move the user's slot into it,
then tell, and acknowledge in a moment with all that come within it. May be repeated: the matchmaker announces again
until it hears of it.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from base.clock import ServerClock
from base.errors import Unavailable
from base.ids import CallId, SessionId
from base.policy import IntentPolicy
from base.rounds import attempt
from matchmaker.lobby import Lobby
from matchmaker.matches import SEATS, Match, MatchedSeat, Seat
from matchmaker.ports import Entered, UnknownSession
from signaling.call import events
from signaling.call.states import State
from signaling.call.view import call_state, match_found
from signaling.calls import CallService
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall
from signaling.node_frames import MatchAnnounced
from signaling.router import Router
from signaling.rows import Rows, caller_of
from signaling.seating import Seating

logger = structlog.get_logger(__name__)

# Well before the pool's owner announces again.
_ACKNOWLEDGED_AFTER_S: Final = 0.02


class Arrivals:
    """Brings matched people into their call."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        calls: CallService,
        lobby: Lobby,
        policies: Mapping[str, IntentPolicy],
        clock: ServerClock,
        rows: Rows,
        seating: Seating,
    ) -> None:
        self._hub = hub
        self._router = router
        self._calls = calls
        self._lobby = lobby
        self._policies = policies
        self._clock = clock
        self._rows = rows
        self._seating = seating
        self._known: dict[str, dict[CallId, set[Seat]]] = {}
        """Matches that are known here and not acknowledged yet, by their pools."""
        self._something = asyncio.Event()

    async def run(self) -> None:
        """Acknowledges what is known here, until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(_ACKNOWLEDGED_AFTER_S)
            self._something.clear()
            pools, self._known = self._known, {}
            for pool, known in pools.items():
                # They are announced again, and then acknowledged again.
                acknowledge = partial(self._lobby.acknowledge, pool, known)
                await attempt(acknowledge, "matches could not be acknowledged", pool=pool, matches=len(known))

    async def announced(self, match: Match) -> None:
        """Does what this node has to do for a match; errors are logged, the matchmaker's review finishes it."""
        policy = self._policies.get(match.intent)
        if policy is None:
            logger.error("match of an intent that is not configured here", intent=match.intent)
            return
        if self._rows.health.restoring_ms() > 0:
            # Of what these two were in, not everything may stand there yet. It is announced again.
            logger.info("match waits until all is put back", call_id=match.call_id)
            return
        try:
            call = await self._calls.open(match, policy)
            here = [seat for seat in SEATS if self._concerns(match.seat(seat))]
            if call is not None and len(here) == 1:
                await self._bring_in(match, call, here[0])
            elif call is not None:
                await asyncio.gather(*(self._bring_in(match, call, seat) for seat in here))
        except UnknownSession:
            logger.warning("match waits until its people are known again", call_id=match.call_id)
        except Unavailable:
            logger.warning("match waits for the store", call_id=match.call_id)

    def _concerns(self, person: MatchedSeat) -> bool:
        """Whether a seat is, or should be, this node's."""
        is_here = self._hub.on_device(person.user_id, person.device_id) is not None
        return is_here or person.node_id == self._router.node_id

    async def _bring_in(self, match: Match, call: LocalCall, seat: Seat) -> None:
        person = match.seat(seat)
        live = self._hub.on_device(person.user_id, person.device_id)
        if live is None:
            if person.node_id == self._router.node_id:
                if self._router.stray(person.session_id, MatchAnnounced(match)):
                    return
                await self._look_for(match, call, seat)
            return
        if live.call_id == match.call_id:
            await self._accept(match, seat, live)
            await self._seating.sit_down(call, seat, live)
            return
        if live.call_id is not None:
            # The call that it is still in here has ended, and sent it back: it hears of that first.
            await self._calls.catch_up(live.call_id)
        if live.away:
            # Matched while the ticket was on its way into a pause: it goes back there, and nobody is shown anything.
            await self._calls.decide_if_it_cares(call, events.PartnerUnavailable(seat, still_waiting=True))
            return
        match await self._accept(match, seat, live):
            case Entered.ENTERED:
                await self._enter(match, call, seat, live)
                self._lobby.found(match, self._clock.now_ms())
            case Entered.BLOCKED:
                await self._calls.decide_if_it_cares(
                    call, events.PartnerUnavailable(seat, still_waiting=True)
                )
            case Entered.GONE:
                await self._calls.decide_if_it_cares(call, events.PartnerUnavailable(seat))

    async def _look_for(
        self, match: Match, call: LocalCall, seat: Seat, *, gone: SessionId | None = None
    ) -> None:
        """Does what can be done for a device that has no session here; `gone` is the one that it had, if that is over."""
        person = match.seat(seat)
        row = await self._rows.of(person.user_id, person.device_id)
        if row is None or row.session_id == gone:
            # It ended while the match was made: the other side need not wait for it.
            await self._calls.decide_if_it_cares(call, events.PartnerUnavailable(seat))
        elif row.node_id != self._router.node_id:
            # It goes on there, with a session that has taken over what this one had.
            self._router.forward(row.node_id, MatchAnnounced(match))
        # Else it is just coming here, with this session or another: the match is announced again.

    async def _accept(self, match: Match, seat: Seat, live: LiveSession) -> Entered:
        try:
            entered = await self._lobby.enter_call(match, seat, caller_of(live))
        except UnknownSession:
            # Not tried again at once: a slot that has lost the session has lost that it waits, too, and would say that
            # the user is gone. It is announced again, and by then all is put back.
            await self._rows.health.look()
            await self._rows.register_again(live)
            raise
        if entered is Entered.ENTERED:
            self._known.setdefault(match.intent, {}).setdefault(match.call_id, set()).add(seat)
            self._something.set()
        return entered

    async def _enter(self, match: Match, call: LocalCall, seat: Seat, live: LiveSession) -> None:
        if live.is_over:
            if self._router.stray(live.id, MatchAnnounced(match)):
                return
            if self._hub.on_device(live.user_id, live.device_id) is not None:
                # Its device has begun another session here. Nobody announces again what is in the slot by now.
                await self._bring_in(match, call, seat)
            else:
                await self._look_for(match, call, seat, gone=live.id)
            return
        if call.view.state is State.ENDED:
            return  # the other side failed first, and with it both tickets were settled
        if live.away:
            await self._calls.decide_if_it_cares(call, events.PartnerUnavailable(seat, still_waiting=True))
            return
        if live.call_id == call.id:
            # Announced again while the slot was asked: whoever was quicker has told it.
            await self._seating.sit_down(call, seat, live)
            return
        live.enter_call(call.id)
        self._hub.wake(live)
        now_ms = self._clock.now_ms()
        live.push_all((match_found(call.view, seat, now_ms), call_state(call.view, seat, now_ms)))
        # Its end may be known here, and not told yet, when the next match comes: then it is told first.
        call.shown[seat] = call.view
        await self._seating.sit_down(call, seat, live)
        if not live.is_attached and not live.is_over:
            await self._seating.detach(call.id, live)
