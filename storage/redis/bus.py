"""Frames from node to node over Redis' publish and subscribe: in order from one sender, each once, never awaited.

Frames that are published within one turn of the event loop leave together: one PUBLISH for each node, all in one write.
Publications get lost: a server dies, a connection is cut, a subscription moves. Each sender numbers its frames for each
node and keeps them for a few seconds; a receiver that misses some asks for them, and holds later ones back meanwhile. What
cannot be had again is told as a gap, never passed over in silence.

The parts: `bus_outgoing` (what leaves), `bus_incoming` (what arrives), `bus_sequence` (the numbers, pure), `bus_frames`
(what is published), `bus_wires`, `bus_line` and `bus_link` (the connections: one to a plain server, one to each primary of
a cluster, where inboxes are shards' channels).
"""

import asyncio
import secrets
from collections.abc import Callable

from redis.asyncio import Redis

from base.clock import ServerClock
from base.ids import NodeId
from presence.metrics import BusMetrics
from signaling.ports import Gap
from storage.redis.bus_ground import Ground, Warnings
from storage.redis.bus_incoming import Incoming
from storage.redis.bus_limits import BusLimits
from storage.redis.bus_line import Ends
from storage.redis.bus_link import BusLink
from storage.redis.bus_outgoing import Outgoing
from storage.redis.bus_wires import OneServer, Primaries, Wires
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import Keys


class RedisBus:
    """Fits `signaling.ports.Bus`. Run `run()` in the process's TaskGroup: it keeps the connections."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        clock: ServerClock,
        metrics: BusMetrics,
        limits: BusLimits | None = None,
    ) -> None:
        ground = Ground(keys, clock, metrics, limits or BusLimits(), Warnings(clock))
        self._metrics = metrics
        self._warnings = ground.warnings
        self._outgoing = Outgoing(ground, name=secrets.token_hex(8), route=self._route)
        self._incoming = Incoming(ground, ask=self._outgoing.aside, asked=self._outgoing.again)
        ends = Ends(ground, self._incoming, self._outgoing)
        self._wires: Wires = (
            Primaries(redis, ends, self) if isinstance(redis, ClusterRedis) else OneServer(redis, ends, self)
        )

    @property
    def is_connected(self) -> bool:
        return self._wires.is_connected

    def on_gap(self, hook: Callable[[Gap], None]) -> None:
        """Has `hook` told of frames that did not arrive; called within the event loop, must not block."""
        self._incoming.on_gap(hook)

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        """Queues a frame for a node; from the event loop's thread only."""
        self._outgoing.publish(node_id, frame)

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        """Feeds the frames for a node to `receive` until cancelled, over any number of reconnects."""
        channel = self._incoming.open(node_id, receive)
        # From now on others may ask us here for what they miss.
        self._outgoing.origin = node_id
        self._wires.subscribe(channel)
        try:
            await asyncio.Event().wait()
        finally:
            self._incoming.shut(channel)
            self._wires.unsubscribe(channel)

    async def subscribed(self, node_id: NodeId) -> None:
        """Returns once frames for this node arrive, `listen` having been called or not."""
        await self._incoming.subscription(node_id).wait()

    async def run(self) -> None:
        """Keeps the connections until cancelled."""
        try:
            await self._wires.run()
        finally:
            self._outgoing.close()
            self._incoming.close()

    def _route(self, channel: bytes) -> BusLink | None:
        return self._wires.route(channel)

    # What the connections hear.

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self._incoming.message(channel, payload)

    def on_subscribed(self, channel: bytes) -> None:
        self._incoming.subscribed(channel)

    def on_moved(self, channel: bytes | None) -> None:
        self._metrics.moved.inc()
        if channel is not None:
            self._incoming.unsubscribed((channel,))
        self._wires.moved()

    def on_unheard(self) -> None:
        self._metrics.unheard.inc()

    def on_refused(self, reason: str) -> None:
        self._metrics.dropped.labels("refused").inc()
        self._warnings.warn("refused", reason=reason)

    def on_writable(self) -> None:
        self._outgoing.flush()
