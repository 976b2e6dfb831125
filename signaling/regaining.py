"""What a device was doing, for the session that it has now: its place in a queue, its call.

Decides by the user's slot, which has the last word on that. Refuses to know how sessions come about.
"""

from functools import partial
from typing import Protocol

from base.errors import CloseCode, MinuetError, Unavailable
from base.ids import CallId
from matchmaker.activity import InCall, Queued, parse_activity
from presence.registry import Registry
from presence.sessions import Registered
from signaling.authentication import Authentication
from signaling.leaving import LeftCalls, insist
from signaling.live_session import LiveSession
from signaling.protocol.messages.call import CallState
from signaling.router import Router
from signaling.rows import registration_of
from signaling.tickets import Tickets


class Calls(LeftCalls, Protocol):
    """What calls are told of their participants' devices."""

    async def attach(self, call_id: CallId, live: LiveSession) -> CallState | None:
        """The device is here; the call as it sees it, None where it is over or not this device's."""
        ...

    async def place_after(self, call_id: CallId, live: LiveSession) -> Queued | None:
        """Lets the user go from a call that is over for them; where the device waits again, None where it does not."""
        ...


class Regaining:
    """Gives sessions what is their devices'."""

    def __init__(
        self,
        router: Router,
        registry: Registry,
        tickets: Tickets,
        calls: Calls,
        authentication: Authentication,
    ) -> None:
        self._router = router
        self._authentication = authentication
        self._registry = registry
        self._tickets = tickets
        self._calls = calls

    async def come_back(self, live: LiveSession) -> None:
        """Puts a session that is here again back into its call or queue. Raises: Unavailable."""
        if live.is_over:
            return
        if live.away:
            # Told again: the store may have lost it.
            await self._registry.note_away(
                registration_of(live, self._router.node_id), live.generation, live.away
            )
            # Also of one that is in a call: the place may come back from there.
            await self._tickets.keep(live)
        if live.call_id is not None:
            await self._calls.attach(live.call_id, live)
            if live.call_id is not None and _has_gone(live):
                await self._calls.detach(live.call_id, live)
        elif live.ticket is not None:
            await self._tickets.resume(live)
            if _has_gone(live):
                await self._tickets.pause(live)

    async def settle_in(self, live: LiveSession, *, moved: bool) -> None:
        """As `come_back`; where the store is away, as soon as that is back. `moved`: it comes from another node."""
        try:
            await self._put_back(live, moved=moved)
        except Unavailable:
            live.run_soon(insist(live, partial(self._put_back, live, moved=moved)))

    async def _put_back(self, live: LiveSession, *, moved: bool) -> None:
        # At once: what the client asks next is to be decided by a call that knows that it is back.
        await self.come_back(live)
        if not moved or live.is_over:
            return
        try:
            # A sign-out or ban that was told while the session was on no node.
            await self._authentication.check(live.identity)
        except Unavailable:
            raise
        except MinuetError as error:
            live.end(CloseCode.REVOKED, str(error.code))

    async def take_over(
        self, live: LiveSession, before: LiveSession | None, registered: Registered
    ) -> CallState | None:
        """Gives a new session what its device was doing; the call as it sees it, if it is in one. Raises: Unavailable."""
        if live.away:
            await self._tickets.keep(live)
        if registered.activity_device != live.device_id:
            return None
        match parse_activity(registered.activity):
            case InCall(call_id):
                live.ticket = None if before is None else before.ticket
                call = await self._calls.attach(call_id, live)
                if call is None:
                    await self._go_on_after(live, call_id)
                return call
            case Queued(_, ticket_id) as queued:
                if before is not None and before.ticket is not None and before.ticket.ticket_id == ticket_id:
                    live.ticket = before.ticket
                    await self._tickets.resume(live)
                else:
                    await self._tickets.adopt(live, queued)
        return None

    async def _go_on_after(self, live: LiveSession, call_id: CallId) -> None:
        """The call was over by the time that it was looked at: the device may be back in the queue."""
        live.ticket = None
        place = await self._calls.place_after(call_id, live)
        if place is not None:
            await self._tickets.adopt(live, place)


def _has_gone(live: LiveSession) -> bool:
    """Whether its socket went while the store was told that it is here: what was told of its going came first."""
    return not live.is_attached and not live.is_over
