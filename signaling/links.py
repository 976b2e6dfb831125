"""What it means for calls that frames between two nodes were lost for good.

Decides which calls are concerned (one side here, the other where the frames came from), how soon each is looked at, and
that both sides begin their negotiation anew where a description or candidates may be among what was lost. What the
record says is loaded anew, since commits may have been among it as well; whatever is due by it follows as ever.
"""

import asyncio
from random import Random
from typing import Final

import msgspec
import structlog

from base.errors import MinuetError, Unavailable
from base.ids import CallId, NodeId
from signaling.call import events
from signaling.call.states import RELAYING, SEATS, Seat, State
from signaling.calls import CallService
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import LinkMetrics
from signaling.ports import Gap
from signaling.router import Router

SPREAD_S: Final = 0.2
"""The nodes that lost the same server begin within this time, each at a moment of its own."""
AT_ONCE: Final = 16
PAUSE_S: Final = 0.02
"""Between each so many: 5,000 calls of one node are 5,000 loads, and all nodes look at the same time."""
AFTER_YOU_S: Final = 0.25
"""Both nodes may have lost something, and one of them is enough: that of seat `b` waits for the other first."""
_AWAY_S: Final = 1.0

logger = structlog.get_logger(__name__)


class Links:
    """The calls of this node that go by links to others."""

    def __init__(
        self, calls: CallService, local: LocalCalls, router: Router, metrics: LinkMetrics, random: Random
    ) -> None:
        self._calls = calls
        self._local = local
        self._router = router
        self._metrics = metrics
        self._random = random
        self._due: dict[CallId, int] = {}  # how often the call had been reset when the loss was told
        self._woken = asyncio.Event()
        self._has_moved = False

    async def reincarnated(self, old: NodeId, new: NodeId) -> None:
        """This process is another node now: what was on its way to the old one is lost. For the lease's hooks."""
        del old
        self._has_moved = True
        self.lost(Gap(new))

    async def put_back(self) -> None:
        """The store has got back what it lost; only then the seats of an incarnation that came with the loss are its own."""
        if self._has_moved:
            self._has_moved = False
            self.lost(Gap(self._router.node_id))

    def lost(self, gap: Gap) -> None:
        """Takes the news of a loss; to be hooked to the bus."""
        concerned = [call for call in self._local if self._is_concerned(call, gap)]
        # Who cannot hear each other at this moment comes first.
        concerned.sort(key=_is_unsettled, reverse=True)
        for call in concerned:
            self._due.setdefault(call.id, call.view.resets)
        if concerned:
            logger.warning("frames lost", sender=gap.sender, missed=gap.missed, calls=len(concerned))
            self._woken.set()

    async def run(self) -> None:
        """Looks at what is concerned, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await asyncio.sleep(self._random.uniform(0, SPREAD_S))
            while self._due:
                now = [(call_id, self._due.pop(call_id)) for call_id in tuple(self._due)[:AT_ONCE]]
                answered = await asyncio.gather(*(self._look_at(call_id, resets) for call_id, resets in now))
                away = not all(answered)
                await asyncio.sleep(_AWAY_S * self._random.uniform(0.5, 1) if away else PAUSE_S)

    def _is_concerned(self, call: LocalCall, gap: Gap) -> bool:
        view = call.view
        if view.state is State.ENDED or self._seat_here(call) is None:
            return False
        others = {view.seat(seat).node_id for seat in SEATS} - {self._router.node_id}
        return gap.sender in others if gap.sender is not None else not others <= gap.asked

    def _seat_here(self, call: LocalCall) -> Seat | None:
        """The side that is on this node, None unless it is one of the two."""
        here = [seat for seat in SEATS if call.view.seat(seat).node_id == self._router.node_id]
        return here[0] if len(here) == 1 else None

    async def _look_at(self, call_id: CallId, resets: int) -> bool:
        """Brings a call up to date, and begins its negotiation anew where that may be stuck; False to be asked again."""
        self._metrics.looked_at.inc()
        try:
            stuck = await self._stuck(call_id, resets)
            if stuck is not None and self._seat_here(stuck) == "b":
                await asyncio.sleep(AFTER_YOU_S)
                stuck = await self._stuck(call_id, resets)
            seat = None if stuck is None else self._seat_here(stuck)
            if stuck is not None and seat is not None:
                await self._calls.decide(stuck, events.MediaFailed(seat))
                self._metrics.resets.inc()
        except Unavailable:
            self._due[call_id] = resets
            return False
        except MinuetError as error:
            logger.debug("call did not care", call_id=call_id, code=error.code)
        except msgspec.MsgspecError as error:
            # Of a release that this one cannot read.
            logger.warning("call could not be looked at", call_id=call_id, error=type(error).__name__)
        except Exception:
            # Broad: one call's failure must not keep the others waiting.
            logger.exception("call could not be looked at", call_id=call_id)
        return True

    async def _stuck(self, call_id: CallId, resets: int) -> LocalCall | None:
        """The call, brought up to date, if its two wait for each other and nobody has had them begin anew meanwhile."""
        await self._calls.catch_up(call_id)
        call = self._local.get(call_id)
        if call is None or call.view.resets != resets or not _is_unsettled(call):
            return None
        return call


def _is_unsettled(call: LocalCall) -> bool:
    """Whether the two are still finding each other: where media flows both ways, nobody waits for what was lost."""
    view = call.view
    if view.state not in RELAYING:
        return False
    return call.negotiations.is_open or not (view.a.media_connected and view.b.media_connected)
