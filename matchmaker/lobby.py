"""The lobby: how people come into a queue, wait there and leave it; and, as the passage, from a match to a call or back.

Decides the order of the steps in the user's slot and in the pool, so that the slot has the last word and a crash
between two steps leaves something that the next caller, the hub's check or the pool's owner repairs. Refuses to
know sockets and messages.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, DeviceId, IdFactory, TicketId, UserId
from base.policy import IntentPolicy
from matchmaker.activity import InCall, Queued
from matchmaker.joining import STANDINGS, Joined, JoinRequest, Standing, ticket_for
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.passage import Passage
from matchmaker.pools import Left, Put, TicketState
from matchmaker.ports import CallStage, CallStages
from matchmaker.queue_store import QueueStore
from matchmaker.slots import Activities, Caller, Slot, Taken
from matchmaker.ticket import Ticket, wants_of

__all__ = ["JoinRequest", "Joined", "Lobby", "Standing"]

# A slot names at most one thing, but another device may change it between two looks.
_JOIN_ATTEMPTS = 4
# A join takes the slot before it puts the ticket; for so long a missing ticket may be on its way.
_PUT_IN_FLIGHT_MS = 5_000


class Lobby(Passage):
    """Queues by intent, as hubs and the pools' owners use them. All methods may be repeated."""

    def __init__(
        self,
        queues: QueueStore,
        activities: Activities,
        calls: CallStages,
        ids: IdFactory,
        policies: Mapping[str, IntentPolicy],
        metrics: MatchmakerMetrics,
    ) -> None:
        super().__init__(queues, activities, policies, metrics)
        self._calls = calls
        self._ids = ids
        self.restoring_ms: Callable[[], int] = lambda: 0
        """For how much longer nothing may be granted, because the store has lost something; set by whoever knows."""
        self.make_sure_of_blocks: Callable[[UserId], Awaitable[None]] = _nothing_to_ask
        """Asked before somebody gets a place; raises Unavailable where some of their blocks may be missing. Set as well."""

    # --- coming and going ----------------------------------------------------------------------------------------

    async def join(self, request: JoinRequest) -> Joined:
        """Lets a user wait; a user who waits already keeps their ticket, with the preferences of now.

        Raises:
            MinuetError: `unknown_intent`, `invalid_message` (nobody left to meet), `wrong_device`, `in_call`,
                `already_matched` (in another queue), `cooldown` (after declining repeatedly), `unavailable`.
            UnknownSession: the user's slot does not know the session that asks.
        """
        if wait_ms := self.restoring_ms():
            # What this user was in may not stand there yet.
            raise Unavailable("what the store has lost is being put back", retry_after_ms=wait_ms)
        policy = self._policies.get(request.intent)
        if policy is None:
            raise MinuetError(code=ErrorCode.UNKNOWN_INTENT)
        await self.make_sure_of_blocks(request.user_id)
        wants = wants_of(request.person, request.preferences, policy.pairing)
        queued = Queued(request.intent, TicketId(self._ids.new()))
        over: Queued | InCall | None = None
        for _ in range(_JOIN_ATTEMPTS):
            taken = await self._activities.join(
                request.user_id, request.caller, queued, replaces=over, met_s=policy.recent_penalty_s
            )
            if taken.pause_ms:
                raise MinuetError(
                    "too many declines in a row", code=ErrorCode.COOLDOWN, retry_after_ms=taken.pause_ms
                )
            held = taken.slot.activity
            if isinstance(held, Queued) and self._is_mine(request, taken, held):
                ticket = ticket_for(request, wants, taken, held.ticket_id, policy)
                return await self._enter(ticket, issued_at=taken.slot.now_ms, already=not taken.taken)
            over = await self._find_over(request, taken.slot)
        raise Unavailable("the user's slot kept changing")

    async def leave(
        self, user_id: UserId, device_id: DeviceId | None, ticket: Ticket | None = None
    ) -> TicketId | None:
        """Ends a user's wait; the ticket that left, or `None` if there was none.

        A session's end must come here whatever the session believes: a join that failed as `unavailable` may have
        happened. `device_id` is `None` for a moderator. `ticket` is what the session believes to wait with: it leaves
        its pool also where the slot has lost it.

        Raises:
            MinuetError: `wrong_device`, `already_matched`, `unavailable`.
        """
        slot = await self._activities.read(user_id)
        if slot.activity is None and ticket is not None:
            if await self._queues.leave(ticket.intent, ticket.ticket_id) is Left.MATCHED:
                raise MinuetError(code=ErrorCode.ALREADY_MATCHED)
            return ticket.ticket_id
        match slot.activity:
            case None:
                return None
            case Queued(pool, ticket_id) as queued:
                if device_id is not None and slot.device_id != device_id:
                    raise MinuetError(code=ErrorCode.WRONG_DEVICE)
                if await self._queues.leave(pool, ticket_id) is Left.MATCHED:
                    raise MinuetError(code=ErrorCode.ALREADY_MATCHED)
                await self._activities.leave(user_id, queued)
                # Whoever put it back meanwhile, as missing, has still found the slot to name it.
                await self._queues.leave(pool, ticket_id)
                return ticket_id
            case InCall(call_id) as in_call:
                if not await self._is_over(call_id):
                    raise MinuetError(code=ErrorCode.ALREADY_MATCHED)
                await self._activities.leave(user_id, in_call)
                return None

    async def call_of(self, user_id: UserId, device_id: DeviceId) -> CallId | None:
        """The call that a device is in, by its user's slot. Raises: Unavailable."""
        slot = await self._activities.read(user_id)
        return (
            slot.activity.call_id
            if isinstance(slot.activity, InCall) and slot.device_id == device_id
            else None
        )

    async def pause(self, ticket: Ticket, *, anew: bool = False) -> Standing:
        """The ticket keeps its place but is not matched; the pool's owner drops it after the policy's `paused_s`.

        With `anew` that time begins again where the ticket is paused already.
        """
        [state] = await self._queues.pause(ticket.intent, [ticket.ticket_id], anew=anew)
        return STANDINGS[state]

    async def keep_paused(self, intent: str, ticket_ids: Sequence[TicketId]) -> list[Standing]:
        """As `pause` with `anew`, of many at once; how each stands."""
        states = await self._queues.pause(intent, ticket_ids, anew=True)
        return [STANDINGS[state] for state in states]

    async def ticket(self, pool: str, ticket_id: TicketId) -> Ticket | None:
        """The ticket that a user's slot names, for a session that has not seen it; None where it is gone.

        One that is matched is still the user's place, until its call is live.
        """
        stored = await self._queues.find(pool, ticket_id)
        return None if stored is None else stored.ticket

    async def resume(self, ticket: Ticket) -> Standing:
        """The ticket waits again at its place, with the session and node it names now; `LEFT` if it was dropped."""
        match await self._queues.put(ticket, create=False):
            case Put.MATCHED:
                return Standing.MATCHED
            case Put.ABSENT:
                # The slot goes too, if nobody else has cleared it: the ticket was all it named.
                await self._activities.leave(ticket.user_id, Queued(ticket.intent, ticket.ticket_id))
                return Standing.LEFT
            case _:
                return Standing.WAITING

    async def verify(self, ticket: Ticket, caller: Caller | None = None, *, paused: bool = False) -> Standing:
        """Puts back whatever is missing of a ticket whose user believes to wait.

        The ticket must name the session and node of now. It waits, even if it was paused; or, with `paused`, because its
        user is away or has lost the connection, it is paused.

        Raises:
            UnknownSession: the user's slot does not know the caller.
            Unavailable: the store, or the pool, did not answer in time.
        """
        queued = Queued(ticket.intent, ticket.ticket_id)
        slot = await self._activities.read(ticket.user_id)
        caller = caller or Caller(ticket.device_id)
        if slot.activity != queued and not await self._reclaim(ticket, slot, caller):
            # The slot moves into a call before the hub hears of it: a ticket that is matched is not lost.
            state = await self._queues.state(ticket.intent, ticket.ticket_id)
            return Standing.MATCHED if state is TicketState.MATCHED else Standing.LEFT
        match await self._queues.put(ticket, issued_at=slot.now_ms, paused=paused):
            case Put.MATCHED:
                return Standing.MATCHED
            case Put.STORED:
                return Standing.RESTORED if await self._is_still_wanted(ticket) else Standing.LEFT
            case Put.LATE:
                raise Unavailable("the pool answered too late")
            case _:
                return Standing.PAUSED if paused else Standing.WAITING

    # --- steps ---------------------------------------------------------------------------------------------------

    def _is_mine(self, request: JoinRequest, taken: Taken, held: Queued) -> bool:
        return taken.taken or (held.pool == request.intent and taken.slot.device_id == request.device_id)

    async def _enter(self, ticket: Ticket, *, issued_at: int, already: bool) -> Joined:
        put = await self._queues.put(ticket, issued_at=issued_at)
        if put is Put.LATE:
            await self._activities.leave(ticket.user_id, Queued(ticket.intent, ticket.ticket_id))
            raise Unavailable("the pool answered too late")
        return Joined(ticket, already)

    async def _find_over(self, request: JoinRequest, slot: Slot) -> Queued | InCall | None:
        """What the slot names, if it is over and may be replaced.

        Raises:
            MinuetError: it is not over, so the request is refused.
        """
        match slot.activity:
            case InCall(call_id):
                if not await self._is_over(call_id):
                    raise MinuetError(code=ErrorCode.IN_CALL)
            case Queued(pool, ticket_id):
                if slot.device_id != request.device_id:
                    on_its_way = slot.now_ms - slot.queued_at < _PUT_IN_FLIGHT_MS
                    if on_its_way or await self._queues.state(pool, ticket_id) is not TicketState.ABSENT:
                        raise MinuetError(code=ErrorCode.WRONG_DEVICE)
                elif await self._queues.leave(pool, ticket_id) is Left.MATCHED:
                    raise MinuetError(code=ErrorCode.ALREADY_MATCHED)
        return slot.activity

    async def _is_over(self, call_id: CallId) -> bool:
        outcome = await self._calls.stage(call_id)
        return outcome.stage in (CallStage.ABSENT, CallStage.ENDED)

    async def _reclaim(self, ticket: Ticket, slot: Slot, caller: Caller) -> bool:
        queued = Queued(ticket.intent, ticket.ticket_id)
        match slot.activity:
            case Queued(pool, other):
                # An older ticket of the same device: the store has fallen back to a moment before this one.
                if slot.device_id != ticket.device_id or slot.queued_at >= ticket.queued_at:
                    return False
                if await self._queues.leave(pool, other) is Left.MATCHED:
                    return False
            case InCall(call_id):
                # A match's own steps bring this user back, if they do; only a ticket that waits all the same is ours.
                state = await self._queues.state(ticket.intent, ticket.ticket_id)
                if state not in (TicketState.WAITING, TicketState.PAUSED) or not await self._is_over(call_id):
                    return False
        taken = await self._activities.join(
            ticket.user_id, caller, queued, replaces=slot.activity, queued_at=ticket.queued_at
        )
        return taken.taken


async def _nothing_to_ask(_user_id: UserId) -> None:
    """Where nobody brings blocks back, none are missing."""
