"""The lobby: how people come into a queue, leave it, and get from a match to a call or back.

Decides the order of the steps in the user's slot and in the pool, so that the slot has the last word and a crash
between two steps leaves something that the next caller, the hub's check or the pool's owner repairs. Refuses to
know sockets and messages.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, DeviceId, IdFactory, NodeId, SessionId, TicketId, UserId
from base.policy import IntentPolicy
from matchmaker.activity import InCall, Queued
from matchmaker.matches import Match, Seat, SeatRef
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.ports import (
    Activities,
    Caller,
    CallStage,
    CallStages,
    Declined,
    Entered,
    Left,
    Put,
    QueueStore,
    Slot,
    Taken,
    TicketState,
)
from matchmaker.ticket import Person, Preferences, Ticket, wants_of

FAILED_PAIR_S = 120.0
"""For how long two people are kept apart whose match led to no call."""

# A slot names at most one thing, but another device may change it between two looks.
_JOIN_ATTEMPTS = 4
# A join takes the slot before it puts the ticket; for so long a missing ticket may be on its way.
_PUT_IN_FLIGHT_MS = 5_000


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Somebody wants to meet somebody."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    intent: str
    preferences: Preferences
    person: Person
    generation: int | None = None
    """That of the session's row, which the user's slot has to have; None where that is not known."""

    @property
    def caller(self) -> Caller:
        if self.generation is None:
            return Caller(self.device_id)
        return Caller(self.device_id, self.session_id, self.generation)


@dataclass(frozen=True, slots=True)
class Joined:
    """A place in the queue. The hub keeps `ticket`: it is what `pause`, `resume` and `verify` are about."""

    ticket: Ticket
    already: bool
    """The user was in this queue before; the ticket and its seniority are the old ones."""

    @property
    def ticket_id(self) -> TicketId:
        return self.ticket.ticket_id

    @property
    def queued_at(self) -> int:
        return self.ticket.queued_at


class Standing(Enum):
    """Where a ticket stands after it was looked after."""

    WAITING = auto()
    PAUSED = auto()
    MATCHED = auto()
    RESTORED = auto()
    """It was missing and waits again, at its place."""
    LEFT = auto()
    """The user is not in the queue with this ticket; the client is to be told so."""


class Lobby:
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
        self._queues = queues
        self._activities = activities
        self._calls = calls
        self._ids = ids
        self._policies = policies
        self._metrics = metrics
        self.restoring_ms: Callable[[], int] = lambda: 0
        """For how much longer nothing may be granted, because the store has lost something; set by whoever knows."""

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
                person = request.person
                ticket = Ticket(
                    ticket_id=held.ticket_id,
                    intent=request.intent,
                    user_id=request.user_id,
                    device_id=request.device_id,
                    session_id=request.session_id,
                    node_id=request.node_id,
                    queued_at=taken.slot.queued_at,
                    side=person.gender,
                    first_name=person.first_name,
                    age=person.age,
                    languages=frozenset(person.languages),
                    region=person.region,
                    verified=person.verified,
                    wants=wants,
                    exclusions=taken.exclusions,
                    met=taken.met,
                    ahead_ms=_ahead_ms(person, policy),
                    leaves_at=_leaves_at(request.preferences, taken.slot.queued_at),
                )
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
        return _STANDINGS[state]

    async def keep_paused(self, intent: str, ticket_ids: Sequence[TicketId]) -> list[Standing]:
        """As `pause` with `anew`, of many at once; how each stands."""
        states = await self._queues.pause(intent, ticket_ids, anew=True)
        return [_STANDINGS[state] for state in states]

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

    # --- from match to call, and back ----------------------------------------------------------------------------

    async def accept_match(self, match: Match, seat: Seat, caller: Caller | None = None) -> Entered:
        """Moves one side's user into the call, which must have been created, and acknowledges the match.

        `BLOCKED` or `GONE`: the call is to be ended. After `BLOCKED` both sides are released with `returns`, after
        `GONE` this side without and the other with it.

        Raises:
            UnknownSession: the user's slot does not know the caller, if there is one.
        """
        entered = await self.enter_call(match, seat, caller)
        if entered is Entered.ENTERED:
            await self.acknowledge(match.intent, {match.call_id: [seat]})
        return entered

    async def enter_call(self, match: Match, seat: Seat, caller: Caller | None = None) -> Entered:
        """As `accept_match`, and what becomes of it is `acknowledge`d later: until then the match is announced again."""
        return await self._activities.enter_call(match.ref(seat), caller)

    async def acknowledge(self, pool: str, known: Mapping[CallId, Collection[Seat]]) -> None:
        """Lets the pool's owner know which matches are known to which of their sides. Raises: Unavailable."""
        await self._queues.acknowledge(pool, known)

    def found(self, match: Match, now_ms: int) -> None:
        """A session has just been told of its match."""
        waited_s = max(0, now_ms - match.claimed_at_ms) / 1000
        self._metrics.found_latency.labels(match.intent).observe(waited_s)

    async def release(
        self,
        ref: SeatRef,
        *,
        returns: bool,
        paused: bool = False,
        declined: bool = False,
        ticket: Ticket | None = None,
    ) -> bool:
        """Resolves one side of a match whose call did not become live; whether the user waits again.

        With `returns` the user goes back to the queue at the original place, unless they do something else by now;
        with `paused` not to be matched until they resume.
        The two are kept apart for a while. Who `declined` may have to pause before queueing again, longer each time.
        The match is gone when both sides are released. `ticket` is put back where the pool has lost the one that returns.
        """
        back = False
        if returns:
            back = await self._activities.return_from_call(ref, apart_s=FAILED_PAIR_S)
            # From the slot, since the device may be another node's: it must not wait even for a moment.
            paused = paused or (back and await self._activities.is_away(ref.user_id))
        else:
            cost = self._cost_of_declining(ref.intent) if declined else None
            await self._activities.free(ref, apart_s=FAILED_PAIR_S, declined=cost)
        # The slot first: while the match stands, the pool's owner can finish what is interrupted here.
        state = await self._queues.resolve(ref, returns=back, paused=paused)
        if back:
            self._metrics.matches.labels(ref.intent, "returned").inc()
        if back and state is TicketState.ABSENT and ticket is not None:
            apart = ticket.exclusions | {ref.peer_id}
            await self._queues.put(msgspec.structs.replace(ticket, exclusions=apart), paused=paused)
            return await self._is_still_wanted(ticket)
        return back and state is not TicketState.ABSENT

    async def went_live(self, match: SeatRef) -> None:
        """The call is live: both tickets are used up, and the two do not meet again for the policy's time.

        Either side's reference will do. The users' slots go on naming the call.
        """
        first = await self._queues.settle(match.intent, match.call_id)
        policy = self._policies.get(match.intent)
        if policy is not None and policy.recent_partner_s > 0:
            await self.part((match.user_id, match.peer_id), match.call_id, apart_s=policy.recent_partner_s)
        if first:
            self._metrics.matches.labels(match.intent, "live").inc()

    async def stay_in_call(self, ref: SeatRef, caller: Caller, queued_at: int) -> bool:
        """Puts back that a user is in a call, after the store has lost it; false if they do something else by now.

        Raises:
            UnknownSession: the user's slot does not know the caller.
        """
        came_from = Queued(ref.intent, ref.ticket_id)
        return await self._activities.restore_call(
            ref.user_id, caller, InCall(ref.call_id), came_from=came_from, queued_at=queued_at
        )

    async def free(self, user_id: UserId, call_id: CallId, *, talked: bool = True) -> bool:
        """The user is done with a call that was live, or of which nobody knows any more whether the two `talked`; false if
        they do something else already."""
        return await self._activities.leave(user_id, InCall(call_id), talked=talked)

    async def part(
        self,
        people: tuple[UserId, UserId],
        call_id: CallId,
        *,
        apart_s: float,
        free: Collection[UserId] = (),
    ) -> None:
        """For `apart_s` from now the two do not meet again; for those who are to be `free` their live call is over."""
        await self._activities.part(people, InCall(call_id), apart_s=apart_s, free=free)

    def _cost_of_declining(self, intent: str) -> Declined | None:
        policy = self._policies.get(intent)
        return None if policy is None else Declined(policy.decline_pause_s, policy.decline_counts_s)

    # --- steps ---------------------------------------------------------------------------------------------------

    async def _is_still_wanted(self, ticket: Ticket) -> bool:
        """Whether the slot names a ticket that was put back: whoever left meanwhile must not leave a place behind."""
        slot = await self._activities.read(ticket.user_id)
        if slot.activity == Queued(ticket.intent, ticket.ticket_id):
            return True
        await self._queues.leave(ticket.intent, ticket.ticket_id)
        return False

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


def _ahead_ms(person: Person, policy: IntentPolicy) -> int:
    """The highest priority that somebody has, as milliseconds of waiting."""
    names = (person.role, "verified") if person.verified else (person.role,)
    return round(max(policy.priority_s.get(name, 0.0) for name in names) * 1000)


def _leaves_at(preferences: Preferences, queued_at: int) -> int:
    return queued_at + preferences.patience_s * 1000 if preferences.patience_s else 0


_STANDINGS = {
    TicketState.WAITING: Standing.WAITING,
    TicketState.PAUSED: Standing.PAUSED,
    TicketState.MATCHED: Standing.MATCHED,
    TicketState.ABSENT: Standing.LEFT,
}
