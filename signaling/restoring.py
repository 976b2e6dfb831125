"""What this node puts back after the store has lost something: its sessions, what their users do, their tickets, its calls.

Decides the order and how many are asked for at once. All of it may be repeated and changes nothing where nothing was lost:
a replica that took over looks just like one that was behind. Whatever fails because a part of the store is away is tried
again until it is done.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, Protocol, TypeVar

import structlog

from base.errors import Unavailable
from base.ids import CallId, UserId
from matchmaker.lobby import Lobby
from signaling.aftermath import seat_ref
from signaling.call.record import Call
from signaling.call.states import Seat
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.rows import Rows, caller_of
from signaling.tickets import Tickets

logger = structlog.get_logger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 64
JITTER_S: Final = 0.3
"""All nodes notice at nearly the same moment; the store has to serve them all."""
_BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0)

Count = Callable[[str, int], None]
"""Counts what was put back: of which kind, how many."""


class Vouching(Protocol):
    """The calls that this node answers for. Raises: Unavailable."""

    async def reassert_all(self) -> int:
        """Puts back their records; how many were missing."""
        ...

    async def put_back(self, call_id: CallId) -> bool:
        """Puts back one; whether it was missing."""
        ...

    async def restrict_again(self) -> None:
        """Has the store hear again of what this process has taken away of late in calls of others."""
        ...


class Seats(Protocol):
    """Where the devices of calls are. Raises: Unavailable."""

    def seat_of(self, live: LiveSession) -> tuple[Call, Seat] | None:
        """The call that a session sits in, as this node knows it, and where; None where that is over for it."""
        ...

    async def attach(self, call_id: CallId, live: LiveSession) -> object:
        """The device is here."""
        ...

    async def detach(self, call_id: CallId, live: LiveSession) -> None:
        """The device lost its socket and may come back."""
        ...


class Restoration:
    """Puts everything back, once for each loss."""

    def __init__(
        self,
        hub: Hub,
        rows: Rows,
        tickets: Tickets,
        lobby: Lobby,
        vouching: Vouching,
        seats: Seats,
    ) -> None:
        self._hub = hub
        self._rows = rows
        self._tickets = tickets
        self._lobby = lobby
        self._vouching = vouching
        self._seats = seats
        self.blocks: Callable[[Sequence[UserId]], Awaitable[int]] | None = None
        """Brings back the blocks of a crowd, or sees to it later; of how many. Raises nothing. Set by whoever knows them."""
        self.count: Count = lambda _kind, _number: None
        self.random = Random()  # noqa: S311  spreads load, guards nothing

    async def run(self) -> None:
        """Returns when all that this node knows stands in the store again."""
        await asyncio.sleep(self.random.random() * JITTER_S)
        async with asyncio.TaskGroup() as tasks:
            # Beside the rest: a database that is slow, or away, must not keep people from having their places back.
            tasks.create_task(self._blocks())
            # Apart as well: they may be on a primary that is away, and nobody else's row is to wait for that.
            tasks.create_task(self._all_calls())
            tasks.create_task(self._insist(self._vouching.restrict_again))
            tasks.create_task(self._sessions())

    async def _blocks(self) -> None:
        if self.blocks is not None:
            self.count("blocks", await self.blocks([live.user_id for live in self._hub]))

    async def _sessions(self) -> None:
        left: Sequence[LiveSession] = tuple(self._hub)
        attempt = 0
        while left:
            left = await self._tried(left)
            if left:
                logger.warning("sessions could not be put back yet", number=len(left))
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1

    async def _tried(self, sessions: Sequence[LiveSession]) -> list[LiveSession]:
        """Those that could not be put back."""
        ahead, failed = iter(sessions), list[LiveSession]()

        async def work() -> None:
            # Whoever waits for a part of the store that is away holds up nobody but those behind it.
            for live in ahead:
                if not await self._session(live):
                    failed.append(live)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, len(sessions))):
                tasks.create_task(work())
        return failed

    async def _all_calls(self) -> None:
        self.count("call", await self._insist(self._vouching.reassert_all))

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await work()
            except Unavailable:
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1

    async def _session(self, live: LiveSession) -> bool:
        """Puts back one session and what its user does; False where that has to be tried again."""
        if live.is_over:
            return True
        done: Counter[str] = Counter()
        try:
            if await self._rows.register_again(live, blocks_later=True):
                done["session"] += 1
                if live.call_id is not None:
                    # The record first: what a slot names is looked at by whoever may not do something because of it.
                    done["call"] += await self._vouching.put_back(live.call_id)
                done["activity"] += await self._activity(live)
                done["ticket"] += await self._tickets.restore(live)
        except Unavailable:
            return False
        except Exception:
            # Broad: one session must not keep all the others from being put back.
            logger.exception("session could not be put back", session_id=live.id)
        for kind, number in done.items():
            self.count(kind, number)
        return True

    async def _activity(self, live: LiveSession) -> bool:
        """Whether the user's slot names the call that the session is in."""
        if (sits := self._seats.seat_of(live)) is None:
            return False
        call, seat = sits
        record = call.seat(seat)
        stays = await self._lobby.stay_in_call(seat_ref(call, seat), caller_of(live), record.queued_at)
        if stays and record.node_id != self._rows.node_id:
            # The node is another incarnation since: the call has to know where the device is, also one that is away.
            await self._seats.attach(call.call_id, live)
            if not live.is_attached:
                await self._seats.detach(call.call_id, live)
        return stays
