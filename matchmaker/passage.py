"""The passage: how two people who were matched get into their call, and out of it or back to the queue.

Decides the order of the steps in the users' slots and in the pool, so that a slot has the last word and a crash between
two steps leaves something that the next caller, the hub's check or the pool's owner repairs.
"""

from collections.abc import Collection, Mapping

import msgspec

from base.ids import CallId, UserId
from base.policy import IntentPolicy
from matchmaker.activity import InCall, Queued
from matchmaker.matches import Match, Seat, SeatRef
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.pools import TicketState
from matchmaker.queue_store import QueueStore
from matchmaker.slots import Activities, Caller, Declined, Entered
from matchmaker.ticket import Ticket

FAILED_PAIR_S = 120.0
"""For how long two people are kept apart whose match led to no call."""


class Passage:
    """From match to call and back, for all intents. All methods may be repeated."""

    def __init__(
        self,
        queues: QueueStore,
        activities: Activities,
        policies: Mapping[str, IntentPolicy],
        metrics: MatchmakerMetrics,
    ) -> None:
        self._queues = queues
        self._activities = activities
        self._policies = policies
        self._metrics = metrics

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

    async def _is_still_wanted(self, ticket: Ticket) -> bool:
        """Whether the slot names a ticket that was put back: whoever left meanwhile must not leave a place behind."""
        slot = await self._activities.read(ticket.user_id)
        if slot.activity == Queued(ticket.intent, ticket.ticket_id):
            return True
        await self._queues.leave(ticket.intent, ticket.ticket_id)
        return False
