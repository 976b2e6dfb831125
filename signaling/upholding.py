"""What was told here and the store has lost: calls put back, ends and revocations committed again.

Decides that nothing which was told to be over comes back because a store has forgotten it: as long as a record lacks
something of that, this node acts on the stricter of the two, and commits what is missing. Refuses to know which calls
are this node's to look after: `signaling.vouching` does.
"""

import asyncio
from collections.abc import Callable
from itertools import count

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId
from signaling.aftermath import Aftermath
from signaling.call.effects import Effect, ReleaseTicket, RememberPartners, ReturnTicket
from signaling.call.events import Event
from signaling.call.merge import reconcile
from signaling.call.record import Call
from signaling.call.rules import restrict
from signaling.call.states import RELAYING, SEATS
from signaling.learning import Learning
from signaling.local_call import LocalCall
from signaling.metrics import CallMetrics
from signaling.ports import ATTEMPTS, BACKOFF_S, CallStore
from signaling.telling import Telling

logger = structlog.get_logger(__name__)


class Upholding:
    """Holds what this node knows of a call against the store."""

    def __init__(
        self,
        store: CallStore,
        learning: Learning,
        telling: Telling,
        aftermath: Aftermath,
        clock: ServerClock,
        metrics: CallMetrics,
    ) -> None:
        self._store = store
        self._learning = learning
        self._telling = telling
        self._aftermath = aftermath
        self._clock = clock
        self._metrics = metrics
        self._insisting: set[CallId] = set()
        self.doubt: Callable[[], None] = lambda: None
        """Told when a record is missing that must be there; set by whoever looks what else the store has lost."""

    # Whatever waits for the call's lock.

    async def reassert(self, call: LocalCall) -> bool:
        """Puts a call back that the store has lost, or brings together what both know; whether it was missing.

        Raises: Unavailable.
        """
        async with call.lock:
            return await self._put_back(call)

    async def verify(self, call: LocalCall) -> None:
        """Holds what this node knows of a call against the store, which may have lost some of it. Raises: Unavailable."""
        async with call.lock:
            fresh = await self._store.load(call.id)
            if fresh is None:
                await self._put_back(call)
            elif fresh.rev != call.stored.rev:
                self._learning.hear_from_store(call, fresh)
            await self._uphold(call)

    async def say_again(self, call: LocalCall) -> None:
        """As `verify`, of a call that this node acted on and need not have. Raises: Unavailable."""
        async with call.lock:
            fresh = await self._store.load(call.id)
            if fresh is None:
                await self._put_back(call)
            elif fresh.rev != call.stored.rev:
                call.take(fresh, self._clock.now_ms(), from_store=True)
                await self._uphold(call, is_ours=True)

    async def insist(self, call: LocalCall) -> None:
        """Commits again what a record lacks, for as long as that takes; once, if it is under way already."""
        if call.id in self._insisting:
            return
        self._insisting.add(call.id)
        try:
            for attempt in count():
                try:
                    async with call.lock:
                        await self._uphold(call)
                except Unavailable:
                    await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                else:
                    return
        finally:
            self._insisting.discard(call.id)

    # What whoever has the call's lock asks for.

    async def reload(self, call: LocalCall) -> None:
        """After a lost race, goes on from what the store has. Raises: MinuetError `not_a_participant`, Unavailable."""
        self._metrics.conflicts.inc()
        fresh = await self._store.load(call.id)
        if fresh is not None:
            # Somebody else's commit may be news to the sessions here; its frame, arriving later, finds nothing newer.
            self._learning.hear_from_store(call, fresh)
        elif self._learning.is_kept(call):
            self.doubt()
            await self._put_back(call)
        else:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)

    async def uphold_before(self, call: LocalCall, event: Event) -> None:
        """Commits what the record lacks before anything is decided by it. Raises: Unavailable."""
        try:
            await self._uphold(call)
        except Unavailable:
            # A restriction binds all the same, and is owed; what permits must not be decided by half the truth.
            if restrict(call.view, event, self._clock.now_ms()) is call.view:
                raise

    # How it goes on inside.

    async def _put_back(self, call: LocalCall) -> bool:
        known = call.stored
        found = await self._store.restore(known)
        if found is None:
            self._metrics.merges.labels("nothing").inc()
            logger.info("call put back", call_id=call.id, version=known.call.version)
            return True
        if found.rev != known.rev:
            self._learning.hear_from_store(call, found)
            self._metrics.merges.labels("newer" if call.lost is None else "other").inc()
            await self._uphold(call)
        return False

    async def _uphold(self, call: LocalCall, *, is_ours: bool = False) -> None:
        """Commits again what was told here and is not in the record any more. Raises: Unavailable."""
        for _ in range(ATTEMPTS):
            lost, before = call.lost, call.stored
            if lost is None or not (is_ours or self._learning.is_kept(call)):
                return
            whole = reconcile(lost.call, before.call, self._clock.now_ms())
            untold = self._telling.concerned(before.call, whole)
            stored = await self._store.commit(before, whole, untold=untold, confirm=True)
            if stored is None:
                await self.reload(call)
                continue
            self._metrics.upheld.inc()
            logger.warning("what was told is stored again", call_id=call.id, version=whole.version)
            self._learning.take(call, stored)
            self._aftermath.hear(call, lost.call, None)
            self._telling.tell(stored, None, untold)
            await self._aftermath.settle(call, _of_end(before.call, whole))
            return
        raise Unavailable("the call kept changing")


def _of_end(before: Call, after: Call) -> list[Effect]:
    """What else has to be done again where an end was lost; each is safe to repeat, and told is what the records say."""
    effects: list[Effect] = []
    if before.state in RELAYING and after.state not in RELAYING:
        effects.append(RememberPartners())
    effects += [
        ReturnTicket(seat) if after.seat(seat).requeued else ReleaseTicket(seat)
        for seat in SEATS
        if after.seat(seat).freed and not before.seat(seat).freed
    ]
    return effects
