"""What happens in a call without anybody's asking: time runs out, descriptions pass or are refused.

Decides when the call's rules are asked about that, and how refusals are summed up before they are. Refuses to know what
any of it comes to.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId
from signaling.aftermath import is_hosted
from signaling.call import events
from signaling.call.change import MAX_REFUSED_LINES_OF_SEAT
from signaling.call.states import RELAYING, SEATS, Seat
from signaling.deadlines import Deadlines
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.router import Router

logger = structlog.get_logger(__name__)

_RETRY_MS: Final = 500
_REFUSALS_KEPT_S: Final = 1.0
_SUMS_KEPT_S: Final = 10.0


class Decides(Protocol):
    """What decides about calls."""

    async def decide(self, call: LocalCall, event: events.Event, /) -> object:
        """Decides about an event. Raises: MinuetError, Unavailable."""
        ...

    async def decide_quietly(self, call: LocalCall, event: events.Event, /) -> None:
        """Decides about something that happened; raises nothing."""
        ...


class CallWatch:
    """The timers of the calls on this node, and what relays tell of them."""

    def __init__(
        self,
        calls: Decides,
        local: LocalCalls,
        router: Router,
        clock: ServerClock,
        metrics: CallMetrics,
        run_soon: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._calls = calls
        self._local = local
        self._router = router
        self._clock = clock
        self._metrics = metrics
        self._run_soon = run_soon
        self._deadlines = Deadlines(clock, self._timer_fired)
        self._refusals: dict[CallId, Counter[tuple[Seat, ErrorCode]]] = {}
        self.expire_offers: Callable[[LocalCall, int], None] = lambda _call, _now: None
        """Told when offers may have run out; set by whoever relays."""

    def close(self) -> None:
        """No timer fires any more."""
        self._deadlines.close()

    # What relays tell.

    def answered(self, call: LocalCall, _seat: Seat) -> None:
        """An answer has passed the gate: whoever may not send video has stopped by it."""
        self._close_windows(call)

    def retime(self, call: LocalCall) -> None:
        """Schedules the call's earliest timer, and closes the window after a revocation where nothing is left to stop."""
        hosted = is_hosted(call, self._router)
        self._deadlines.schedule(call.id, call.next_timer_at if hosted else None)
        if call.negotiations.answered and not call.negotiations.may_have_video:
            # Taken back before it was negotiated: nobody has an answer to give that would say so.
            self._close_windows(call)

    def count_refusal(self, call: LocalCall, seat: Seat, code: ErrorCode) -> None:
        """Counts a refused relay for the record; what comes within a second is one line of its log."""
        counts = self._refusals.get(call.id)
        if counts is None:
            counts = self._refusals[call.id] = Counter()
            self._run_soon(self._commit_refusals(call))
        counts[seat, code] += 1

    def overspent(self, call: LocalCall, seat: Seat) -> None:
        """Ends a call in which nothing more can be negotiated; closing the socket would only bring it back."""
        self._run_soon(self._calls.decide_quietly(call, events.SignalingLimitReached(seat)))

    def _close_windows(self, call: LocalCall) -> None:
        """By the last answer that was relayed, whoever may not send video sends none."""
        view = call.view
        if view.a.video_off_at is not None or view.b.video_off_at is not None:
            stopped = tuple(seat for seat in SEATS if not view.seat(seat).video_allowed)
            self._run_soon(self._calls.decide_quietly(call, events.VideoStopped(stopped)))

    async def _commit_refusals(self, call: LocalCall) -> None:
        # Once a seat may have no more room for lines, mostly sums are left to bring up to date.
        has_room = len(call.stored.call.refused) < MAX_REFUSED_LINES_OF_SEAT
        await asyncio.sleep(_REFUSALS_KEPT_S if has_room else _SUMS_KEPT_S)
        for (seat, code), count in self._refusals.pop(call.id).items():
            await self._calls.decide_quietly(call, events.RelayRefused(seat, code, count))

    # Timers.

    def _timer_fired(self, call_id: CallId) -> None:
        self._run_soon(self._fire(call_id))

    async def _fire(self, call_id: CallId) -> None:
        call = self._local.get(call_id)
        if call is None:
            return
        now_ms = self._clock.now_ms()
        if call.view.state in RELAYING:
            self.expire_offers(call, now_ms)
        due_at = call.view.next_deadline_at
        if due_at is not None and due_at <= now_ms:
            self._metrics.late_timers.observe((now_ms - due_at) / 1000)
            try:
                await self._calls.decide(call, events.TimerFired())
            except Unavailable:
                self._deadlines.schedule(call_id, now_ms + _RETRY_MS)
                return
            except MinuetError as error:
                logger.warning("timer of a lost call", call_id=call_id, code=error.code)
                # Nobody else may have it either, so that this may go on: never without a pause.
                self._deadlines.schedule(call_id, now_ms + _RETRY_MS)
                return
        self.retime(call)
