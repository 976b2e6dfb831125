"""Restrictions that were told on this node and wait for the store: hanging up, revoking, blocking.

Decides that each holds here at once, that what comes after a told end is decided by what was told, and that each is
tried until the store has it. Refuses to know what a restriction is: `signaling.call.rules` does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from base.clock import ServerClock
from base.errors import MinuetError, Unavailable
from signaling.aftermath import Aftermath
from signaling.call.change import CallRefused, Decision
from signaling.call.events import Event, HungUp, VideoApproved, VideoRequested
from signaling.call.rules import receive, restrict
from signaling.call.states import State
from signaling.learning import Learning
from signaling.local_call import LocalCall, Owed
from signaling.ports import BACKOFF_S

logger = structlog.get_logger(__name__)

Pay = Callable[[LocalCall, Owed], Awaitable[object]]
"""Commits a restriction that was told. Raises: MinuetError, Unavailable."""


class OwedRestrictions:
    """What this node has told and owes the store."""

    def __init__(
        self,
        learning: Learning,
        aftermath: Aftermath,
        clock: ServerClock,
        pay: Pay,
        run_soon: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._learning = learning
        self._aftermath = aftermath
        self._clock = clock
        self._pay = pay
        self._run_soon = run_soon
        self._store_took = asyncio.Event()
        """Set, and another from then on, when the store has taken something: whoever waits for it need not wait longer."""
        self.number = 0
        """How many wait for the store."""

    def owe(self, call: LocalCall, event: Event, decision: Decision, now_ms: int) -> Decision:
        """Holds this node to a restriction that was decided at `now_ms`, and commits it when the store is back."""
        told = call.as_told()
        try:
            # Upon what was told already: an end that is owed is not told again by a second one.
            on_top = receive(told, event, now_ms)
        except CallRefused:
            return decision
        if on_top.call is told:
            return decision
        logger.warning("restriction waits for the store", call_id=call.id, event_type=type(event).__name__)
        shown = max((seen.version for seen in call.shown.values()), default=0)
        as_next = msgspec.structs.replace(on_top.call, version=max(on_top.call.version, shown + 1))
        self._aftermath.tell_only(call, as_next, on_top.effects)
        if isinstance(event, HungUp) and on_top.call.state is State.ENDED:
            # Whatever the others do until it is stored, its sender is not asked anything any more.
            event = replace(event, passes=True)
        # Whatever else is stored first goes on from there.
        owed = Owed(event, now_ms, msgspec.structs.replace(on_top.call, version=told.version))
        self.go_on(call, owed)
        return on_top

    def go_on(self, call: LocalCall, owed: Owed) -> None:
        """As `owe`, of what was told already."""
        call.owe(owed)
        self._run_soon(self._insist(call, owed))

    def upon_owed(self, call: LocalCall, event: Event) -> Decision | None:
        """What comes after something that was told and waits for the store, and rests on that; None where nothing does.

        It is decided by what was told, and owed in its turn: by the record the call still goes on, and whoever declines to
        stay in touch, or allows video again, would be told `ok` for nothing. Raises: CallRefused, Unavailable.
        """
        now_ms = self._clock.now_ms()
        told, stored = call.as_told(), call.stored.call
        is_over = told.state in (State.DECIDING, State.ENDED) and told.state is not stored.state
        if not is_over and (told is stored or not isinstance(event, VideoApproved | VideoRequested)):
            return None
        on_top = receive(told, event, now_ms)
        if on_top.call is told:
            return on_top
        if restrict(told, event, now_ms) is told:
            raise Unavailable("what it rests on waits for the store")
        return self.owe(call, event, on_top, now_ms)

    def store_took(self) -> None:
        """The store has taken a commit: what is owed is worth another try."""
        self._store_took.set()
        self._store_took = asyncio.Event()

    async def _insist(self, call: LocalCall, owed: Owed) -> None:
        self.number += 1
        try:
            await self._until_paid(call, owed)
        finally:
            self.number -= 1

    async def _until_paid(self, call: LocalCall, owed: Owed) -> None:
        # For as long as the call is known here: what was told does not come undone because the store is away for long.
        attempt = 0
        while self._learning.is_kept(call):
            await self._pause(attempt)
            attempt += 1
            if call.owed[0] is not owed:
                continue  # it may rest on what is owed before it
            try:
                await self._pay(call, owed)
            except Unavailable:
                continue
            except MinuetError:
                pass  # decided otherwise meanwhile, by somebody whose commit came first
            except Exception:
                # Broad: what was told stays owed, and what waits behind it needs its turn.
                logger.exception("restriction could not be stored yet", call_id=call.id)
                continue
            call.paid(owed, self._clock.now_ms())
            if call.lost is not None:
                self._learning.lacking(call)
            self._learning.retime(call)
            self.store_took()  # the next one of this call may have its turn now
            return
        event_type = type(owed.event).__name__
        logger.error("restriction could not be stored", call_id=call.id, event_type=event_type)

    async def _pause(self, attempt: int) -> None:
        """Until another try, which is worth it as soon as the store has taken anything at all."""
        try:
            async with asyncio.timeout(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]):
                await self._store_took.wait()
                # Where it takes some and refuses others, this is how often the others try.
                await asyncio.sleep(BACKOFF_S[0] / 2)
        except TimeoutError:
            pass
