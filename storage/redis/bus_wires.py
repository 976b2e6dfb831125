"""The bus's connections: which of them takes a publication to a channel, and which brings a channel.

On a plain server there is one, and it takes and brings everything. On a cluster an inbox is a shard's channel, served by the
primary of its slot, so that there is one connection to each primary. Slots move: by failover, by resharding, or because a
server says so (a MOVED for an answer, subscribers shown the door). Then the map is asked for again, inboxes are
subscribed to where they are now, and nodes are told how far their links have come, since what went to the wrong place
is lost.
"""

import asyncio
from functools import partial
from typing import Final, Protocol

from redis.asyncio import Redis

from storage.redis.bus_line import Ends, Line
from storage.redis.bus_link import BusLink, LinkListener, open_link
from storage.redis.cluster import ClusterRedis
from storage.redis.slots import Address

SETTLE_EVERY_S: Final = 0.2
"""Between two attempts to subscribe where a slot is said to be; the map may be old for a moment."""


class Wires(Protocol):
    """All connections of one bus."""

    @property
    def is_connected(self) -> bool:
        """Whether what others send us can arrive."""
        ...

    def route(self, channel: bytes) -> BusLink | None:
        """The connection that takes a publication to this channel now."""
        ...

    def subscribe(self, channel: bytes) -> None: ...

    def unsubscribe(self, channel: bytes) -> None: ...

    def moved(self) -> None:
        """A server said that a channel is another's."""
        ...

    async def run(self) -> None:
        """Keeps the connections until cancelled."""
        ...


class OneServer:
    """A plain server."""

    def __init__(self, redis: Redis, ends: Ends, listener: LinkListener) -> None:
        connect = partial(open_link, redis, monotonic_ms=ends.ground.clock.monotonic_ms)
        self._line = Line("redis", ends, listener, connect)

    @property
    def is_connected(self) -> bool:
        return self._line.link is not None

    def route(self, channel: bytes) -> BusLink | None:
        del channel
        return self._line.open()

    def subscribe(self, channel: bytes) -> None:
        self._line.subscribe(channel)

    def unsubscribe(self, channel: bytes) -> None:
        self._line.unsubscribe(channel)

    def moved(self) -> None:
        """It has nowhere to move to."""

    async def run(self) -> None:
        await self._line.run()


class Primaries:
    """A cluster."""

    def __init__(self, redis: ClusterRedis, ends: Ends, listener: LinkListener) -> None:
        self._redis = redis
        self._ends = ends
        self._listener = listener
        self._lines: dict[Address, Line] = {}
        self._keeping: dict[Address, asyncio.Task[None]] = {}
        self._inboxes: dict[bytes, Line | None] = {}
        self._routes: dict[bytes, Line] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._settling: asyncio.Task[None] | None = None
        redis.topology.on_change(self._rewire)

    @property
    def is_connected(self) -> bool:
        if not self._inboxes:
            return any(line.link is not None for line in self._lines.values())
        return all(line is not None and line.link is not None for line in self._inboxes.values())

    def route(self, channel: bytes) -> BusLink | None:
        line = self._routes.get(channel)
        if line is None:
            line = self._line_of(channel)
            if line is None:
                return None
            self._routes[channel] = line
        return line.open()

    def subscribe(self, channel: bytes) -> None:
        line = self._inboxes[channel] = self._line_of(channel)
        if line is not None:
            line.subscribe(channel)

    def unsubscribe(self, channel: bytes) -> None:
        line = self._inboxes.pop(channel)
        if line is not None:
            line.unsubscribe(channel)

    def moved(self) -> None:
        if self._tasks is not None and self._settling is None:
            self._settling = self._tasks.create_task(self._settle())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                # As long as nobody can be asked, there is nothing to keep.
                while not self._redis.topology.map.ranges and not await self._redis.topology.refresh():
                    self._ends.ground.warnings.warn(
                        "away", server="cluster", error="nobody says who serves what"
                    )
                    await asyncio.sleep(SETTLE_EVERY_S)
                self._rewire()
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    # How it goes on inside.

    def _line_of(self, channel: bytes) -> Line | None:
        address = self._redis.topology.primary_of(channel)
        return None if address is None else self._lines.get(address)

    def _rewire(self) -> None:
        """After a change of the map: a line to each primary, and each inbox on the line of its own."""
        if self._tasks is None:
            return
        primaries = self._redis.topology.map.primaries
        for address in primaries:
            if address not in self._lines:
                self._lines[address] = line = self._new_line(address)
                self._keeping[address] = self._tasks.create_task(line.run())
        self._routes.clear()
        for channel, old in tuple(self._inboxes.items()):
            new = self._line_of(channel)
            if new is not old and new is not None:
                if old is not None:
                    old.unsubscribe(channel)
                self._ends.incoming.unsubscribed((channel,))
                self._inboxes[channel] = new
                new.subscribe(channel)
        for address in [known for known in self._lines if known not in primaries]:
            del self._lines[address]
            self._keeping.pop(address).cancel()
        self._ends.outgoing.reconnected()

    def _new_line(self, address: Address) -> Line:
        async def connect(listener: LinkListener) -> BusLink:
            # Asked for anew each time: a client is closed when its node has left the cluster.
            node = self._redis.node(address)
            return await open_link(node, listener, self._ends.ground.clock.monotonic_ms, sharded=True)

        return Line(
            str(address), self._ends, self._listener, connect, on_trouble=partial(self._trouble, address)
        )

    def _trouble(self, address: Address) -> None:
        self._redis.topology.refresh_soon(avoid=address)

    async def _settle(self) -> None:
        """Until every inbox is where the cluster says it is."""
        try:
            while True:
                await self._redis.topology.refresh()
                down = [channel for channel in self._inboxes if not self._ends.incoming.is_up(channel)]
                for channel in down:
                    line = self._inboxes[channel]
                    if line is not None:
                        line.subscribe(channel)
                await asyncio.sleep(SETTLE_EVERY_S)
                if all(map(self._ends.incoming.is_up, self._inboxes)):
                    return
        finally:
            self._settling = None
