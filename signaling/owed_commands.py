"""What people took away by REST while their call could not be reached: kept, and done as soon as it can be.

A node that hosts a call is bound by a restriction at once, stored or not (`CallService`). Any other node knows the call
only from the store; where that is away it can neither look the call up nor tell its node. So it keeps what was asked,
for two minutes and not beyond its own life, tries again and again, and says that it is not done yet.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from base.clock import Clock
from base.errors import MinuetError, Unavailable
from base.ids import CallId, UserId
from signaling.call import events
from signaling.calls import CallService, EventOf

logger = structlog.get_logger(__name__)

KEPT_MS: Final = 120_000
MAX_KEPT: Final = 10_000
MAX_KEPT_OF_USER: Final = 8
"""A user is in one call; the rest is for changes of mind, and for nobody who makes up calls."""
_EVERY_S: Final = 0.5
_AT_ONCE: Final = 32

Restriction = type[events.HungUp] | type[events.VideoRevoked] | type[events.ConnectPassed]


@dataclass(frozen=True, slots=True)
class _Owed:
    """One thing that one person asked of one call; asked twice it is still one."""

    call_id: CallId
    user_id: UserId
    restriction: Restriction

    def late(self, age_ms: int) -> EventOf:
        """What it was when it was asked: it answers nothing that was asked since, and takes back nothing given since."""
        if self.restriction is events.HungUp:
            return partial(events.HungUp, passes=False)
        if self.restriction is events.VideoRevoked:
            return partial(events.VideoRevoked, age_ms=age_ms)
        return self.restriction


class OwedCommands:
    """Does restrictions, if need be later."""

    def __init__(self, calls: CallService, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._owed: dict[_Owed, int] = {}
        """When each was asked for (monotonic ms)."""
        self._waiting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._owed)

    async def act(
        self, call_id: CallId, user_id: UserId, restriction: Restriction
    ) -> Mapping[str, Any] | None:
        """What the call answers; None where it could not be reached and the restriction is kept.

        Raises: MinuetError as `CallService.act`; Unavailable where too much is kept already.
        """
        try:
            return await self._calls.act(call_id, user_id, restriction)
        except Unavailable:
            self._keep(_Owed(call_id, user_id, restriction))
            return None

    async def run(self) -> None:
        """Tries what is kept until cancelled."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(_EVERY_S)
            await self.try_all()
            if not self._owed:
                self._waiting.clear()

    async def try_all(self) -> None:
        """Tries each once, oldest first; what is too old is given up."""
        owed = list(self._owed)
        for start in range(0, len(owed), _AT_ONCE):
            await asyncio.gather(*map(self._try, owed[start : start + _AT_ONCE]))

    def _keep(self, owed: _Owed) -> None:
        if owed in self._owed:
            return
        of_user = sum(other.user_id == owed.user_id for other in self._owed)
        if len(self._owed) >= MAX_KEPT or of_user >= MAX_KEPT_OF_USER:
            raise Unavailable
        logger.warning(
            "restriction waits for its call", call_id=owed.call_id, event_type=owed.restriction.__name__
        )
        self._owed[owed] = self._clock.monotonic_ms()
        self._waiting.set()

    async def _try(self, owed: _Owed) -> None:
        age_ms = self._clock.monotonic_ms() - self._owed[owed]
        try:
            await self._calls.act(owed.call_id, owed.user_id, owed.late(age_ms))
        except Unavailable:
            if age_ms < KEPT_MS:
                return
            logger.error(
                "restriction was never done", call_id=owed.call_id, event_type=owed.restriction.__name__
            )
        except MinuetError as error:
            # Over already, or never this user's call: nothing is left to take away.
            logger.debug("restriction came too late", call_id=owed.call_id, code=error.code)
        except Exception:
            # Broad: what is wrong with this one must not keep the others. It would be wrong the next time, too.
            logger.exception("restriction failed", call_id=owed.call_id)
        del self._owed[owed]
