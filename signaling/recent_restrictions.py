"""What this process has taken away in calls within the last half minute, wherever their people are.

A hangup, a revocation or a block over REST is stored by a node that may have neither of the two. Their own nodes hold to
what they heard, and store it again where the store forgets it; but where the store takes over from a replica that was
behind before they have heard, nobody would know but the one who asked. So whoever took something away looks once more
after every loss. Decides for how long, and how many calls; refuses to know what was taken away.
"""

from asyncio import gather
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog

from base.errors import Unavailable
from base.ids import CallId
from signaling.local_call import LocalCall

logger = structlog.get_logger(__name__)

REMEMBERED_MS: Final = 30_000
"""Longer than a cluster takes to notice that a primary is gone, and for a replica to take over."""
MOST: Final = 10_000
AT_ONCE: Final = 32


class RecentRestrictions:
    """The calls, those that were restricted longest ago first. `now_ms` is monotonic."""

    def __init__(self, say: Callable[[LocalCall], Awaitable[None]], now_ms: Callable[[], int]) -> None:
        """`say` holds what is known of a call against the store, and stores again what that has lost."""
        self._say = say
        self._now_ms = now_ms
        self._recent: OrderedDict[CallId, tuple[int, LocalCall]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def note(self, call: LocalCall) -> None:
        """Something was taken away in a call, and the store has acknowledged it."""
        self._recent.pop(call.id, None)
        self._recent[call.id] = self._now_ms(), call
        self._forget_old()

    async def say_again(self) -> None:
        """After a loss, has the store hear of all of it once more. Raises: Unavailable, after everything was tried."""
        self._forget_old()
        ahead = iter([call for _, call in self._recent.values()])
        away = [failed for failed in await gather(*(self._work_off(ahead) for _ in range(AT_ONCE))) if failed]
        if away:
            raise away[0]

    async def _work_off(self, ahead: Iterator[LocalCall]) -> Unavailable | None:
        away: Unavailable | None = None
        for call in ahead:
            try:
                await self._say(call)
            except Unavailable as error:
                # The others may be on another primary.
                away = error
            except Exception:
                # Broad: one record must not keep the others from being said again.
                logger.exception("what was taken away could not be said again", call_id=call.id)
        return away

    def _forget_old(self) -> None:
        old = self._now_ms() - REMEMBERED_MS
        while self._recent:
            oldest = next(iter(self._recent))
            if len(self._recent) <= MOST and self._recent[oldest][0] > old:
                return
            del self._recent[oldest]
