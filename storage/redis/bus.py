"""Frames from node to node over Redis' publish and subscribe: at most once, in order from one sender, never awaited.

Frames that are published within one turn of the event loop leave together: one PUBLISH for each node, all in one write.
Each sender numbers its frames for each node, so that the receiver knows of a gap, though not of one at the end. What
nobody can send waits in bounded space, and the oldest is dropped first.

A subscription can hang while everything else is fine, and a primary that was cut off can still deliver. Therefore each
inbox must hear its canary, which the node's lease publishes: after 3 s without one the connection is made anew.
"""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import structlog
from redis.asyncio import Redis

from base.clock import ServerClock
from base.ids import NodeId
from presence.metrics import BusMetrics
from storage.redis.bus_link import BusLink, open_link
from storage.redis.client import UNAVAILABLE_ERRORS
from storage.redis.keys import Keys

log = structlog.get_logger(__name__)


CANARY = b"~"
"""How a canary begins, and no batch."""

WATCH_EVERY_MS = 500
PING_EVERY_MS = 1_000
LONGEST_BACKOFF_S = 1.0
STEADY_MS = 5_000
"""A connection that lived for this long is no failed attempt."""
LOG_EVERY_MS = 10_000
MOST_PEERS = 1_024


@dataclass(frozen=True, slots=True)
class BusLimits:
    """How much may wait to leave, how large one publication grows, how long silence is borne."""

    waiting_frames: int = 16_384
    waiting_bytes: int = 4 << 20
    batch_bytes: int = 256 << 10
    silence_ms: int = 3_000
    needs_canary: bool = True
    """False for a process that listens without keeping a lease."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames to `node_id` are missing: so many from `sender`, or, where that is None, nobody knows what."""

    node_id: NodeId
    sender: str | None = None
    missed: int = 0


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """One publication: `frames` are numbered from `first`, for this link from sender to node."""

    sender: str
    first: int
    frames: list[bytes]


@dataclass(slots=True)
class _Lane:
    """What goes to one node."""

    channel: bytes
    last: int = 0
    first: int = 0
    frames: list[bytes] = field(default_factory=list)
    bytes: int = 0


@dataclass(slots=True)
class _Inbox:
    """What comes in for one node."""

    node_id: NodeId
    receive: Callable[[bytes], None]
    heard_at: int
    was_up: bool = False
    expected: dict[str, int] = field(default_factory=dict)


class RedisBus:
    """Fits `signaling.ports.Bus`. Run `run()` in the process's TaskGroup: it keeps the one connection."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        clock: ServerClock,
        metrics: BusMetrics,
        limits: BusLimits | None = None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or BusLimits()
        self._sender = secrets.token_hex(8)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Batch)
        self._link: BusLink | None = None
        self._lanes: dict[NodeId, _Lane] = {}
        self._waiting: deque[tuple[_Lane, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._flush_due = False
        self._inboxes: dict[bytes, _Inbox] = {}
        self._subscribed: dict[bytes, asyncio.Event] = {}
        self._gap_hooks: list[Callable[[Gap], None]] = []
        self._logged_at: dict[str, int] = {}

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    def on_gap(self, hook: Callable[[Gap], None]) -> None:
        """Has `hook` told of frames that did not arrive; called within the event loop, must not block."""
        self._gap_hooks.append(hook)

    # --- out -------------------------------------------------------------------------------------------------

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        """Queues a frame for a node; from the event loop's thread only."""
        lane = self._lanes.get(node_id) or self._open_lane(node_id)
        lane.last += 1
        self._waiting.append((lane, lane.last, frame))
        self._waiting_bytes += len(frame)
        if (
            self._waiting_bytes > self._limits.waiting_bytes
            or len(self._waiting) > self._limits.waiting_frames
        ):
            self._drop_oldest()
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _open_lane(self, node_id: NodeId) -> _Lane:
        if len(self._lanes) >= MOST_PEERS:
            # Begins anew at 1 when it is needed again, which receivers understand.
            self._lanes.pop(next(iter(self._lanes)))
        lane = self._lanes[node_id] = _Lane(self._keys.node_inbox(node_id).encode())
        return lane

    def _flush(self) -> None:
        self._flush_due = False
        link = self._link
        if link is None or link.is_paused or not self._waiting:
            self._metrics.waiting_bytes.set(self._waiting_bytes)
            return
        batches: list[tuple[bytes, bytes]] = []
        touched: list[_Lane] = []
        for lane, number, frame in self._waiting:
            if not lane.frames:
                lane.first = number
                touched.append(lane)
            elif lane.bytes + len(frame) > self._limits.batch_bytes:
                batches.append(self._close_batch(lane))
                lane.first = number
            lane.frames.append(frame)
            lane.bytes += len(frame)
        batches += [self._close_batch(lane) for lane in touched]
        self._metrics.frames_out.inc(len(self._waiting))
        self._metrics.batches_out.inc(len(batches))
        self._metrics.waiting_bytes.set(0)
        self._waiting.clear()
        self._waiting_bytes = 0
        link.publish(batches)

    def _close_batch(self, lane: _Lane) -> tuple[bytes, bytes]:
        batch = self._encoder.encode(Batch(self._sender, lane.first, lane.frames))
        lane.frames = []
        lane.bytes = 0
        return lane.channel, batch

    def _drop_oldest(self) -> None:
        dropped = 0
        while self._waiting and (
            self._waiting_bytes > self._limits.waiting_bytes
            or len(self._waiting) > self._limits.waiting_frames
        ):
            _, _, frame = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            dropped += 1
        self._metrics.dropped.labels("overflow").inc(dropped)
        self._warn("overflow", dropped=dropped)

    # --- in --------------------------------------------------------------------------------------------------

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        """Feeds the frames for a node to `receive` until cancelled, over any number of reconnects."""
        channel = self._keys.node_inbox(node_id).encode()
        if channel in self._inboxes:
            raise ValueError(f"somebody listens for node {node_id} already")
        self._inboxes[channel] = _Inbox(node_id, receive, self._clock.monotonic_ms())
        if self._link is not None:
            self._link.subscribe(channel)
        try:
            await asyncio.Event().wait()
        finally:
            del self._inboxes[channel]
            self._subscribed.pop(channel, None)
            if self._link is not None:
                self._link.unsubscribe(channel)

    async def subscribed(self, node_id: NodeId) -> None:
        """Returns once frames for this node arrive, `listen` having been called or not."""
        await self._subscription(self._keys.node_inbox(node_id).encode()).wait()

    def _subscription(self, channel: bytes) -> asyncio.Event:
        return self._subscribed.setdefault(channel, asyncio.Event())

    def on_message(self, channel: bytes, payload: bytes) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is None:
            return  # nobody listens any more
        inbox.heard_at = self._clock.monotonic_ms()
        try:
            if payload.startswith(CANARY):
                self._measure_lag(int(payload[1:]) // 1000)
                return
            batch = self._decoder.decode(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            self._metrics.dropped.labels("undecodable").inc()
            self._warn("undecodable", error=str(error))
            return
        self._metrics.batches_in.inc()
        self._metrics.frames_in.inc(len(batch.frames))
        self._check_numbers(inbox, batch)
        for frame in batch.frames:
            try:
                inbox.receive(frame)
            except Exception:
                # The other frames, and the connection, are not to blame.
                log.exception("bus.frame_failed")

    def _measure_lag(self, sent_at: int) -> None:
        # Below zero only by what the two clocks disagree.
        self._metrics.lag.observe(max(0, self._clock.now_ms() - sent_at) / 1000)

    def _check_numbers(self, inbox: _Inbox, batch: Batch) -> None:
        expected = inbox.expected.pop(batch.sender, 1)
        if batch.first > expected:
            missed = batch.first - expected
            self._metrics.missed.inc(missed)
            self._tell_gap(Gap(inbox.node_id, batch.sender, missed))
        # Popped and put back: the senders stand in the order in which they were heard, the first is forgotten first.
        inbox.expected[batch.sender] = batch.first + len(batch.frames)
        if len(inbox.expected) > MOST_PEERS:
            inbox.expected.pop(next(iter(inbox.expected)))

    def on_subscribed(self, channel: bytes) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is None:
            return
        self._subscription(channel).set()
        if inbox.was_up:
            self._tell_gap(Gap(inbox.node_id))
        inbox.was_up = True

    def on_unheard(self) -> None:
        self._metrics.unheard.inc()

    def on_refused(self, reason: str) -> None:
        self._metrics.dropped.labels("refused").inc()
        self._warn("refused", reason=reason)

    def on_writable(self) -> None:
        self._flush()

    def _tell_gap(self, gap: Gap) -> None:
        for hook in self._gap_hooks:
            try:
                hook(gap)
            except Exception:
                log.exception("bus.gap_hook_failed", sender=gap.sender, missed=gap.missed)

    # --- the connection --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        failures = 0
        while True:
            try:
                link = await open_link(self._redis, self, self._clock.monotonic_ms)
            except UNAVAILABLE_ERRORS as error:
                self._warn("away", error=str(error))
            else:
                opened_at = self._clock.monotonic_ms()
                await self._use(link)
                if self._clock.monotonic_ms() - opened_at > STEADY_MS:
                    failures = 0
            longest = min(LONGEST_BACKOFF_S, 0.05 * 2**failures)
            failures += 1
            await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311  spreads reconnects, keeps no secret

    async def _use(self, link: BusLink) -> None:
        self._metrics.connects.inc()
        self._link = link
        now = self._clock.monotonic_ms()
        for channel, inbox in self._inboxes.items():
            inbox.heard_at = now
            link.subscribe(channel)
        self._flush()
        try:
            reason = await self._watch(link)
            self._warn("lost", reason=reason)
            self._link = None
            await link.abort()
        finally:
            # When cancelled: what was published in this turn still leaves.
            self._flush()
            self._link = None
            for subscribed in self._subscribed.values():
                subscribed.clear()
            await link.close()

    async def _watch(self, link: BusLink) -> str:
        """Returns when the link is of no use any more, with the reason."""
        looked_at = pinged_at = self._clock.monotonic_ms()
        while True:
            await asyncio.wait({link.lost}, timeout=WATCH_EVERY_MS / 1000)
            if link.lost.done():
                return "the connection was closed"
            now = self._clock.monotonic_ms()
            if now - looked_at > 2 * WATCH_EVERY_MS:
                # This process was stopped or busy. What came meanwhile may still be unread: blame nobody yet.
                link.excuse(now)
                for inbox in self._inboxes.values():
                    inbox.heard_at = now
            looked_at = now
            if link.stuck_ms(now) > self._limits.silence_ms:
                return f"the store has not answered for {link.stuck_ms(now)} ms"
            for inbox in self._inboxes.values():
                if self._limits.needs_canary and now - inbox.heard_at > self._limits.silence_ms:
                    return f"node {inbox.node_id} has heard nothing, not even its canary, for {now - inbox.heard_at} ms"
            if now - pinged_at >= PING_EVERY_MS:
                pinged_at = now
                link.ping()

    def _warn(self, kind: str, **facts: object) -> None:
        now = self._clock.monotonic_ms()
        if now - self._logged_at.get(kind, -LOG_EVERY_MS) >= LOG_EVERY_MS:
            self._logged_at[kind] = now
            log.warning(f"bus.{kind}", **facts)
