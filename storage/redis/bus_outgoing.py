"""What leaves for other nodes: collected for one turn of the event loop, numbered, kept for a while, told again.

Decides what is published and when; where a channel's server is, and whether there is a connection to it, is asked of a
`route`. What nobody can send waits in bounded space, and the oldest is dropped first. Nothing here awaits.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from base.ids import NodeId
from storage.redis.bus_frames import Ask, Batch, encode_batch, gone
from storage.redis.bus_ground import Ground
from storage.redis.bus_link import BusLink
from storage.redis.bus_sequence import Kept

MOST_LANES: Final = 1_024
LANE_IDLE_MS: Final = 600_000
"""A link that nothing went out on for so long is forgotten; another one begins when it is needed."""
TICK_MS: Final = 100
EXPIRE_EVERY_MS: Final = 1_000
REPEAT_AFTER_MS: Final = (200, 1_000)
"""After the last publication of a link its last number is told again, so that a lost end is noticed."""

Route = Callable[[bytes], BusLink | None]
"""The connection that takes a publication to this channel now, None where there is none or its buffer is full."""


class Lane:
    """The link to one node."""

    __slots__ = ("bytes", "channel", "frames", "kept", "repeats", "sent", "sent_at", "stream")

    def __init__(self, stream: str, channel: bytes, now_ms: int) -> None:
        self.stream = stream
        self.channel = channel
        self.frames: list[bytes] = []
        """What waits; numbered when it leaves."""
        self.bytes = 0
        self.sent = 0
        """The number of the last frame that left, or was dropped before it could."""
        self.sent_at = now_ms
        self.kept = Kept()
        self.repeats = 0
        """How often the last number has been told again since."""


class Outgoing:
    """The links from this process."""

    def __init__(self, ground: Ground, *, name: str, route: Route) -> None:
        self._keys = ground.keys
        self._clock = clock = ground.clock
        self._metrics = ground.metrics
        self._traffic = ground.metrics.traffic
        self._warnings = ground.warnings
        self._limits = ground.limits
        self._name = name
        self._route = route
        self.origin = ""
        """The node whose inbox takes requests to send again."""
        self._lanes: dict[NodeId, Lane] = {}
        self._opened = 0
        self._dirty: list[Lane] = []
        self._waiting_frames = 0
        self._waiting_bytes = 0
        self._asides: list[tuple[bytes, bytes]] = []
        self._flush_due = False
        self._restless: dict[Lane, None] = {}
        self._kept_bytes = 0
        self._tick_due: asyncio.TimerHandle | None = None
        self._expired_at = clock.monotonic_ms()

    def __len__(self) -> int:
        return len(self._lanes)

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        """Queues a frame for a node; from the event loop's thread only."""
        lane = self._lanes.get(node_id) or self._open(node_id)
        if not lane.frames:
            self._dirty.append(lane)
        size = len(frame)
        lane.frames.append(frame)
        lane.bytes += size
        self._waiting_frames += 1
        self._waiting_bytes += size
        limits = self._limits
        if self._waiting_bytes > limits.waiting_bytes or self._waiting_frames > limits.waiting_frames:
            self._drop_oldest()
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def aside(self, channel: bytes, payload: bytes) -> None:
        """Publishes something that is no frame, in this turn; nothing is done about its loss."""
        self._asides.append((channel, payload))
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def again(self, ask: Ask) -> None:
        """Publishes once more what a node misses, or says that it cannot be had."""
        node_id = NodeId(ask.node_id)
        lane = self._lanes.get(node_id)
        channel = self._keys.node_inbox(node_id).encode()
        if lane is None or lane.stream != ask.sender:
            self.aside(channel, encode_batch(gone(ask, self.origin)))
            return
        payloads = dict.fromkeys(
            payload for first, last in ask.ranges for payload in lane.kept.find(first, last)
        )
        for payload in payloads:
            self.aside(channel, payload)
        self._metrics.sent_again.inc(len(payloads))
        self.aside(channel, self._last_number(lane))

    def flush(self) -> None:
        """Lets leave what can."""
        self._flush_due = False
        dirty, asides = self._dirty, self._asides
        if not dirty and not asides:
            return
        now_ms = self._clock.monotonic_ms()
        ready: dict[BusLink, list[tuple[bytes, bytes]]] = {}
        self._dirty = []
        for lane in dirty:
            link = self._route(lane.channel)
            if link is None:
                self._dirty.append(lane)
            else:
                self._close(lane, ready.setdefault(link, []), now_ms)
        if asides:
            self._asides = []
            for channel, payload in asides:
                link = self._route(channel)
                if link is not None:  # else whoever wants it asks again
                    ready.setdefault(link, []).append((channel, payload))
        self._traffic.waiting_bytes = self._waiting_bytes
        for link, publications in ready.items():
            link.publish(publications)
        if self._tick_due is None:
            self._tick_due = asyncio.get_running_loop().call_later(TICK_MS / 1000, self._tick)

    def reconnected(self) -> None:
        """What went into the old connection may be lost: says to everybody which number was the last."""
        for lane in self._lanes.values():
            if len(lane.kept):
                lane.repeats = 0
                self._restless[lane] = None
        self.flush()

    def close(self) -> None:
        if self._tick_due is not None:
            self._tick_due.cancel()
            self._tick_due = None

    # How it goes on inside.

    def _open(self, node_id: NodeId) -> Lane:
        now_ms = self._clock.monotonic_ms()
        if len(self._lanes) >= MOST_LANES:
            self._forget(min(self._lanes, key=lambda known: self._lanes[known].sent_at))
        self._opened += 1
        # Another name than any link had before: its numbers begin at 1, and that must not look like repeats.
        lane = Lane(f"{self._name}{self._opened:x}", self._keys.node_inbox(node_id).encode(), now_ms)
        self._lanes[node_id] = lane
        return lane

    def _forget(self, node_id: NodeId) -> None:
        lane = self._lanes.pop(node_id)
        self._restless.pop(lane, None)
        if lane.frames:
            self._dirty.remove(lane)
            self._drop(lane, len(lane.frames))
        self._kept_bytes -= lane.kept.bytes

    def _close(self, lane: Lane, publications: list[tuple[bytes, bytes]], now_ms: int) -> None:
        """Numbers what waits for the node, and makes as many publications of it as its size asks for."""
        frames, most = lane.frames, self._limits.batch_bytes
        self._waiting_frames -= len(frames)
        self._waiting_bytes -= lane.bytes
        self._traffic.frames_out += len(frames)
        if lane.bytes <= most:
            publications.append((lane.channel, self._number(lane, frames, now_ms)))
        else:
            start = size = 0
            for index, frame in enumerate(frames):
                if size and size + len(frame) > most:
                    publications.append((lane.channel, self._number(lane, frames[start:index], now_ms)))
                    start, size = index, 0
                size += len(frame)
            publications.append((lane.channel, self._number(lane, frames[start:], now_ms)))
        lane.frames = []
        lane.bytes = 0
        lane.sent_at = now_ms
        lane.repeats = 0
        self._restless[lane] = None

    def _number(self, lane: Lane, frames: list[bytes], now_ms: int) -> bytes:
        kept, first = lane.kept, lane.sent + 1
        payload = encode_batch(Batch(lane.stream, first, frames, self.origin, kept.floor))
        lane.sent += len(frames)
        before = kept.bytes
        kept.add(first, lane.sent, payload, now_ms)
        if kept.bytes > self._limits.kept_bytes:
            kept.trim(self._limits.kept_bytes)
        self._kept_bytes += kept.bytes - before
        if self._kept_bytes > self._limits.kept_total_bytes:
            self._keep_less()
        self._traffic.batches_out += 1
        return payload

    def _keep_less(self) -> None:
        fullest = max(self._lanes.values(), key=lambda lane: lane.kept.bytes).kept
        before = fullest.bytes
        # By a good part, so that this is rare.
        fullest.trim(before // 2)
        self._kept_bytes -= before - fullest.bytes

    def _drop_oldest(self) -> None:
        limits = self._limits
        while self._waiting_bytes > limits.waiting_bytes or self._waiting_frames > limits.waiting_frames:
            fullest = max(self._dirty, key=lambda lane: lane.bytes)
            self._drop(fullest, 1)
            if not fullest.frames:
                self._dirty.remove(fullest)

    def _drop(self, lane: Lane, count: int) -> None:
        size = sum(map(len, lane.frames[:count]))
        del lane.frames[:count]
        lane.bytes -= size
        self._waiting_frames -= count
        self._waiting_bytes -= size
        # They have their numbers, as if they had left, so that the receiver knows; nothing before them can be had either.
        lane.sent += count
        self._kept_bytes -= lane.kept.bytes
        lane.kept.clear(lane.sent + 1)
        self._metrics.dropped.labels("overflow").inc(count)
        self._warnings.warn("overflow", dropped=count)

    def _last_number(self, lane: Lane) -> bytes:
        return encode_batch(Batch(lane.stream, lane.sent + 1, [], self.origin, lane.kept.floor))

    # Time.

    def _tick(self) -> None:
        self._tick_due = None
        now_ms = self._clock.monotonic_ms()
        told = 0
        for lane in tuple(self._restless):
            if now_ms - lane.sent_at < REPEAT_AFTER_MS[lane.repeats]:
                continue
            if self._route(lane.channel) is None:
                continue  # as soon as there is a connection
            self.aside(lane.channel, self._last_number(lane))
            told += 1
            lane.repeats += 1
            if lane.repeats == len(REPEAT_AFTER_MS):
                del self._restless[lane]
        if told:
            self._metrics.numbers_told.inc(told)
            self.flush()
        if now_ms - self._expired_at >= EXPIRE_EVERY_MS:
            self._expired_at = now_ms
            self._expire(now_ms)
        if (self._restless or self._kept_bytes) and self._tick_due is None:
            self._tick_due = asyncio.get_running_loop().call_later(TICK_MS / 1000, self._tick)

    def _expire(self, now_ms: int) -> None:
        for node_id, lane in tuple(self._lanes.items()):
            before = lane.kept.bytes
            lane.kept.expire(now_ms - self._limits.kept_ms)
            self._kept_bytes -= before - lane.kept.bytes
            if now_ms - lane.sent_at > LANE_IDLE_MS and not lane.frames:
                self._forget(node_id)
        self._traffic.kept_bytes = self._kept_bytes
