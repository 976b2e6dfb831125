"""Upkeep: what becomes of the tickets in a pool whose people are gone, or had enough.

A node that dies may leave tens of thousands at once. They are paused, and dropped, in parts: each part is one script,
which nothing else in Redis runs beside, and all that happens in a pool has to be heard before more of it happens.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from base.errors import Unavailable
from base.ids import NodeId
from matchmaker.activity import Queued
from matchmaker.pools import Left
from matchmaker.room import WaitingRoom
from matchmaker.ticket import Ticket
from matchmaker.worker_ports import WorkerPorts

MOVED_AT_ONCE: Final = 500
SLOTS_AT_ONCE: Final = 32

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class OwnedPool:
    """A pool, the token of its owner, and how long a pause lasts at most."""

    name: str
    token: str
    paused_s: float


class Upkeep:
    """Looks after one pool for its owner; `catch_up` waits until all that happened in the pool was heard."""

    def __init__(
        self, pool: OwnedPool, room: WaitingRoom, ports: WorkerPorts, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._pool = pool
        self._room = room
        self._queues = ports.queues
        self._activities = ports.activities
        self._nodes = ports.nodes
        self._catch_up = catch_up
        self._suspects: set[NodeId] = set()

    async def look_after(self, now_ms: int) -> None:
        """Pauses whose node is gone, drops who was paused for too long, lets go who meant to wait no longer."""
        await self._pause_orphans()
        await self._drop_paused(now_ms)
        await self._drop_departing(now_ms)

    async def _pause_orphans(self) -> None:
        try:
            living = await self._nodes.living()
        except Unavailable:
            return
        orphans = self._room.on_nodes_but(living)
        # Twice in a row: a ticket may be heard of before its node's first lease is.
        sure = [ticket_id for node in orphans if node in self._suspects for ticket_id in orphans[node]]
        self._suspects = set(orphans)
        expected = {None, *living}
        for some in _in_parts(sure, MOVED_AT_ONCE):
            # Some may have come back meanwhile, on other nodes.
            lost = [ticket_id for ticket_id in some if self._room.node_of(ticket_id) not in expected]
            await self._queues.pause(self._pool.name, lost)
            await self._catch_up()

    async def _drop_paused(self, now_ms: int) -> None:
        paused_s = self._pool.paused_s
        overdue = self._room.paused_since(now_ms - round(paused_s * 1000))
        for some in _in_parts(overdue, MOVED_AT_ONCE):
            dropped = await self._queues.drop_paused(
                self._pool.name, self._pool.token, some, paused_s=paused_s
            )
            await self._free(dropped)
            await self._catch_up()

    async def _drop_departing(self, now_ms: int) -> None:
        """Lets go of those who said for how long they would wait; their hubs find that the place is gone."""
        for some in _in_parts(self._room.departing(now_ms), SLOTS_AT_ONCE):
            left = await asyncio.gather(
                *(self._queues.leave(self._pool.name, each.ticket_id) for each in some)
            )
            await self._free([each for each, how in zip(some, left, strict=True) if how is Left.LEFT])

    async def _free(self, gone: Sequence[Ticket]) -> None:
        """Makes those idle whose tickets are gone."""
        for some in _in_parts(gone, SLOTS_AT_ONCE):
            await asyncio.gather(*(self._free_one(ticket) for ticket in some))

    async def _free_one(self, ticket: Ticket) -> None:
        # Where this fails, whoever looks at the slot next finds that its ticket is gone.
        with suppress(Unavailable):
            await self._activities.leave(ticket.user_id, Queued(self._pool.name, ticket.ticket_id))


def _in_parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
