"""What this node learns of calls: the records that it commits, loads, or is sent.

Decides which call that this node keeps goes on from a record, who has to know of that, and that an end is counted by
whoever committed it. Refuses to know what becomes of what a record has lost: `signaling.upholding` does.
"""

from collections.abc import Callable, Sequence

import structlog

from base.clock import ServerClock
from signaling.aftermath import Aftermath, is_hosted
from signaling.call.consent import head
from signaling.call.record import Call
from signaling.call.states import State
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.node_frames import Told
from signaling.ports import StoredCall
from signaling.router import Router

logger = structlog.get_logger(__name__)


class Learning:
    """Brings calls up to date."""

    def __init__(
        self,
        local: LocalCalls,
        router: Router,
        aftermath: Aftermath,
        clock: ServerClock,
        metrics: CallMetrics,
    ) -> None:
        self._local = local
        self._router = router
        self._aftermath = aftermath
        self._clock = clock
        self._metrics = metrics
        self.retime: Callable[[LocalCall], None] = lambda _call: None
        """Told when a call's earliest timer may be another; set by whoever fires timers."""
        self.lacking: Callable[[LocalCall], None] = lambda _call: None
        """Told of a call whose record lacks what was told here; set by whoever stores that again."""

    def is_kept(self, call: LocalCall) -> bool:
        """Whether this is the call that this node acts on, and not one that was loaded to look at."""
        return self._local.get(call.id) is call

    def keep(self, stored: StoredCall, *, from_store: bool = False) -> LocalCall:
        """The local call of this record, made or brought up to date, with its timers."""
        call = self._local.keep(stored, from_store=from_store)
        self.retime(call)
        if call.lost is not None:
            self.lacking(call)
        return call

    def hear(
        self, stored: StoredCall, told: Sequence[Told] | None = None, *, from_store: bool = False
    ) -> None:
        """Takes note of what somebody else committed, and lets the sessions here hear of it.

        `told` is what that very change had to say, where that is known; `from_store` where the record was just loaded.
        """
        known = self._local.get(stored.call.call_id)
        before = None if known is None else known.stored.call
        call = self.keep(stored, from_store=from_store)
        # What an older change had to say is part of what follows from the newer record, or is not true any more.
        self._aftermath.hear(call, before, told if call.stored.rev == stored.rev else None)

    def hear_from_store(self, call: LocalCall, fresh: StoredCall) -> None:
        """As `hear`, of a call that need not be kept."""
        before = call.stored.call
        self._aftermath.hear(self.take(call, fresh, from_store=True), before, None)

    def take(self, call: LocalCall, stored: StoredCall, *, from_store: bool = False) -> LocalCall:
        """Goes on from a record; returns the call that this node keeps, where that is another by now."""
        has_ended = call.stored.call.state is not State.ENDED and stored.call.state is State.ENDED
        call.take(stored, self._clock.now_ms(), from_store=from_store)
        kept = self._local.get(call.id)
        if kept is None and is_hosted(call, self._router):
            self._local.adopt(call)
        if kept is not None or self.is_kept(call):
            call = self.keep(stored, from_store=from_store)
        # Whoever lost the race for the end finds it in the store, and it is not theirs to count.
        if has_ended and not from_store:
            self._count_end(stored.call)
        return call

    def _count_end(self, call: Call) -> None:
        if call.reason is None:
            return
        self._metrics.ended.labels(call.reason).inc()
        for event in call.events:
            self._metrics.consent.labels(event.kind).inc()
        logger.info(
            "call ended",
            call_id=call.call_id,
            reason=str(call.reason),
            duration_ms=call.duration_ms,
            intent=call.intent,
            # Outside the database: whoever rewrites the log there cannot rewrite this line.
            consent_entries=len(call.events) + len(call.refused),
            consent_head=head(call).hex(),
        )
