"""After a loss of the store: which calls this node vouches for, and that their records are put back.

Decides which calls those are, how many at once, and that one which cannot be put back keeps no other from it. What
putting back means is `signaling.upholding`'s.
"""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from base.errors import Unavailable
from base.ids import CallId
from signaling.call.states import RELAYING, SEATS, State
from signaling.local_call import LocalCall, LocalCalls
from signaling.recent_restrictions import RecentRestrictions
from signaling.router import Router
from signaling.upholding import Upholding

logger = structlog.get_logger(__name__)

_AT_ONCE: Final = 32
_WITHIN_S: Final = 0.5


class Vouching:
    """The calls that this node answers for."""

    def __init__(
        self, upholding: Upholding, restrictions: RecentRestrictions, local: LocalCalls, router: Router
    ) -> None:
        self._upholding = upholding
        self._local = local
        self._router = router
        self.restrict_again = restrictions.say_again

    async def put_back(self, call_id: CallId) -> bool:
        """As `reassert_all`, of one call; whether it was missing. Raises: Unavailable."""
        call = self._local.get(call_id)
        return call is not None and self._vouches_for(call) and await self._upholding.reassert(call)

    async def reassert_all(self) -> int:
        """Puts back what the store has lost of the calls that are this node's to know, spread over half a second.

        Also those that ended in the last minute, which history may not have yet. Not those whose people are on other
        nodes by now: these know better. Returns: how many were missing. Raises: Unavailable.
        """
        at_once = asyncio.Semaphore(_AT_ONCE)
        away: Unavailable | None = None

        async def reassert(call: LocalCall) -> bool:
            nonlocal away
            # By the id, which is random there: nodes and calls do not come all at once.
            await asyncio.sleep(_WITHIN_S * UUID(call.id).bytes[-2] / 256)
            async with at_once:
                try:
                    return await self._upholding.reassert(call)
                except Unavailable as error:
                    # The others may be on another primary; and what is tried again must not meet this try.
                    away = error
                except Exception:
                    # Broad, since one record must not keep all others from being put back.
                    logger.exception("call could not be put back", call_id=call.id)
                return False

        answers = await asyncio.gather(*map(reassert, filter(self._vouches_for, self._local)))
        if away is not None:
            raise away
        return sum(answers)

    def _vouches_for(self, call: LocalCall) -> bool:
        record = call.stored.call
        seats = [record.seat(seat) for seat in SEATS if self._router.is_this(record.seat(seat).node_id)]
        if record.state not in RELAYING and record.state is not State.PROPOSED:
            return bool(seats)
        return any(self._router.here(seat.node_id, seat.session_id) is not None for seat in seats)
