"""What arrives in this process's inboxes: frames are handed on in order, losses are noticed, asked for and told.

Decides for each inbox which sender is heard how far (`bus_sequence` has the rules) and when an inbox is too silent. Knows
no connection: requests leave by whoever is given as `ask`.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from base.ids import NodeId
from signaling.ports import Gap
from storage.redis.bus_frames import ASK, CANARY, Ask, Batch, decode_ask, decode_batch, encode_ask
from storage.redis.bus_ground import Ground
from storage.redis.bus_sequence import Lost, Step, Stream

MOST_STREAMS: Final = 8_192
STREAM_IDLE_MS: Final = 1_200_000
"""Longer than any sender remembers its side of a link that it does not use."""
FORGET_EVERY_MS: Final = 60_000
LOOK_EVERY_MS: Final = 50
STOPPED_MS: Final = 500

logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Inbox:
    """What comes in for one node."""

    node_id: NodeId
    receive: Callable[[bytes], None]
    heard_at: int
    is_up: asyncio.Event
    was_up: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    is_crowded: bool = False
    """Some streams were forgotten before their time: a number above 1 need not mean that those before it are missing."""
    forgot_at: int = 0


class Incoming:
    """The inboxes of this process."""

    def __init__(
        self,
        ground: Ground,
        *,
        ask: Callable[[bytes, bytes], None],
        asked: Callable[[Ask], None],
    ) -> None:
        self._keys = ground.keys
        self._clock = ground.clock
        self._metrics = ground.metrics
        self._traffic = ground.metrics.traffic
        self._warnings = ground.warnings
        self._limits = ground.limits
        self._ask = ask
        self._asked = asked
        self._inboxes: dict[bytes, Inbox] = {}
        self._up: dict[bytes, asyncio.Event] = {}
        self._gap_hooks: list[Callable[[Gap], None]] = []
        self._waiting: dict[Stream, Inbox] = {}
        self._held_bytes = 0
        self._look_due: asyncio.TimerHandle | None = None
        self._look_from = 0
        self._has_moved = False

    def on_gap(self, hook: Callable[[Gap], None]) -> None:
        self._gap_hooks.append(hook)

    # --- inboxes ---------------------------------------------------------------------------------------------

    def open(self, node_id: NodeId, receive: Callable[[bytes], None]) -> bytes:
        """Begins to take what comes for a node; the channel to subscribe to. Raises: ValueError if it is open."""
        channel = self._keys.node_inbox(node_id).encode()
        if channel in self._inboxes:
            raise ValueError(f"somebody listens for node {node_id} already")
        inbox = Inbox(node_id, receive, self._clock.monotonic_ms(), self.subscription(node_id))
        # What was sent to the incarnation before this one is lost, in part.
        inbox.was_up = self._has_moved
        self._inboxes[channel] = inbox
        return channel

    def shut(self, channel: bytes) -> None:
        inbox = self._inboxes.pop(channel)
        self._up.pop(channel, None)
        self._has_moved |= inbox.was_up
        for stream in [stream for stream, its in self._waiting.items() if its is inbox]:
            self._drop(stream)

    def subscription(self, node_id: NodeId) -> asyncio.Event:
        """Set while what is published to the node arrives."""
        return self._up.setdefault(self._keys.node_inbox(node_id).encode(), asyncio.Event())

    def close(self) -> None:
        if self._look_due is not None:
            self._look_due.cancel()
            self._look_due = None

    def unsubscribed(self, channels: Iterable[bytes]) -> None:
        """The connection is gone that brought these."""
        for channel in channels:
            if channel in self._up:
                self._up[channel].clear()

    def is_up(self, channel: bytes) -> bool:
        """Whether what is published to the channel arrives."""
        return channel in self._up and self._up[channel].is_set()

    def excuse(self, now_ms: int, channels: Iterable[bytes]) -> None:
        """Counts silence from now: it was us who did not listen."""
        for channel in channels:
            if channel in self._inboxes:
                self._inboxes[channel].heard_at = now_ms

    def silence(self, now_ms: int, channels: Iterable[bytes]) -> str | None:
        """Why the connection that brings these channels is of no use, None as long as it is."""
        if not self._limits.needs_canary:
            return None
        for channel in channels:
            inbox = self._inboxes.get(channel)
            if inbox is not None and now_ms - inbox.heard_at > self._limits.silence_ms:
                silent_ms = now_ms - inbox.heard_at
                return f"node {inbox.node_id} has heard nothing, not even its canary, for {silent_ms} ms"
        return None

    # --- what a link hears -----------------------------------------------------------------------------------

    def subscribed(self, channel: bytes) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is None:
            return
        now_ms = inbox.heard_at = self._clock.monotonic_ms()
        inbox.is_up.set()
        if inbox.was_up:
            self._come_back(inbox, now_ms)
        inbox.was_up = True

    def message(self, channel: bytes, payload: bytes) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is None:
            return  # nobody listens any more
        now_ms = inbox.heard_at = self._clock.monotonic_ms()
        try:
            if payload.startswith(CANARY):
                self._measure_lag(int(payload[1:]) // 1000)
                return
            if payload.startswith(ASK):
                self._asked(decode_ask(payload))
                return
            batch = decode_batch(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            self._metrics.dropped.labels("undecodable").inc()
            self._warnings.warn("undecodable", error=str(error))
            return
        self._take(inbox, batch, now_ms)

    # --- frames ----------------------------------------------------------------------------------------------

    def _take(self, inbox: Inbox, batch: Batch, now_ms: int) -> None:
        if batch.frames:
            self._traffic.batches_in += 1
        stream = inbox.streams.get(batch.sender) or self._open_stream(inbox, batch, now_ms)
        if not batch.origin:
            self._hand_on(inbox, stream, stream.take_as_is(batch.first, batch.frames, now_ms))
            return
        stream.origin = batch.origin
        before = stream.held_bytes
        steps = stream.take(batch.first, batch.frames, batch.floor, now_ms)
        if stream.waits or stream.repeats or stream in self._waiting:
            if self._held_bytes + stream.held_bytes - before > self._limits.held_total_bytes:
                steps = (*steps, *stream.give_up())
            self._watch(inbox, stream, stream.held_bytes - before, now_ms)
        self._hand_on(inbox, stream, steps)

    def _open_stream(self, inbox: Inbox, batch: Batch, now_ms: int) -> Stream:
        if len(inbox.streams) >= MOST_STREAMS or now_ms - inbox.forgot_at > FORGET_EVERY_MS:
            inbox.forgot_at = now_ms
            self._forget(inbox, now_ms)
        first = batch.first if inbox.is_crowded else 1
        stream = inbox.streams[batch.sender] = Stream(batch.sender, first, self._limits.patience, now_ms)
        return stream

    def _forget(self, inbox: Inbox, now_ms: int) -> None:
        streams = inbox.streams
        for name in [name for name, stream in streams.items() if now_ms - stream.heard_at > STREAM_IDLE_MS]:
            self._drop(streams.pop(name))
        while len(streams) >= MOST_STREAMS:
            inbox.is_crowded = True
            self._drop(streams.pop(min(streams, key=lambda name: streams[name].heard_at)))

    def _drop(self, stream: Stream) -> None:
        if self._waiting.pop(stream, None) is not None:
            self._held_bytes -= stream.held_bytes
            self._traffic.held_bytes = self._held_bytes

    def _hand_on(self, inbox: Inbox, stream: Stream, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Lost):
                self._metrics.missed.inc(step.count)
                sender = NodeId(stream.origin) if stream.origin else None
                if step.count:
                    self._warnings.warn("missed", sender=sender, frames=step.count)
                self._tell_gap(Gap(inbox.node_id, sender, step.count))
                continue
            self._traffic.frames_in += len(step)
            for frame in step:
                try:
                    inbox.receive(frame)
                except Exception:
                    # Broad: the other frames, and the connection, are not to blame.
                    logger.exception("bus.frame_failed")

    # --- what is missing -------------------------------------------------------------------------------------

    def _come_back(self, inbox: Inbox, now_ms: int) -> None:
        """We have not listened for a while: whoever we know is asked what we missed, the others are told of."""
        asked = set()
        for stream in inbox.streams.values():
            if stream.origin:
                asked.add(NodeId(stream.origin))
                stream.resume(now_ms)
                self._watch(inbox, stream, 0, now_ms)
        self._tell_gap(Gap(inbox.node_id, asked=frozenset(asked)))

    def _watch(self, inbox: Inbox, stream: Stream, more_bytes: int, now_ms: int) -> None:
        """Keeps an eye on a stream that waits, or has waited until now."""
        self._held_bytes += more_bytes
        self._count(stream)
        if not stream.waits:
            self._waiting.pop(stream, None)
            return
        self._waiting[stream] = inbox
        ranges = stream.wanted(now_ms)
        if ranges:
            self._metrics.asked.inc()
            ask = Ask(inbox.node_id, stream.name, ranges)
            self._ask(self._keys.node_inbox(stream.origin).encode(), encode_ask(ask))
        if self._look_due is None:
            self._look_from = now_ms
            self._look_due = asyncio.get_running_loop().call_later(LOOK_EVERY_MS / 1000, self._look)

    def _count(self, stream: Stream) -> None:
        self._traffic.held_bytes = self._held_bytes
        if stream.repeats:
            self._metrics.repeats.inc(stream.repeats)
            stream.repeats = 0
        if stream.filled:
            self._metrics.filled.inc(stream.filled)
            stream.filled = 0

    def _look(self) -> None:
        self._look_due = None
        now_ms = self._clock.monotonic_ms()
        # This process was stopped or busy: what was asked for may have come, and be unread still.
        was_away = now_ms - self._look_from > STOPPED_MS
        for stream, inbox in tuple(self._waiting.items()):
            if was_away:
                stream.excuse(now_ms)
            before = stream.held_bytes
            steps = stream.overdue(now_ms)
            self._watch(inbox, stream, stream.held_bytes - before, now_ms)
            self._hand_on(inbox, stream, steps)

    # --- what is told ----------------------------------------------------------------------------------------

    def _measure_lag(self, sent_at: int) -> None:
        # Below zero only by what the two clocks disagree.
        self._metrics.lag.observe(max(0, self._clock.now_ms() - sent_at) / 1000)

    def _tell_gap(self, gap: Gap) -> None:
        for hook in self._gap_hooks:
            try:
                hook(gap)
            except Exception:
                # Broad: the other hooks, and the frames behind the gap, are not to blame.
                logger.exception("bus.gap_hook_failed", sender=gap.sender, missed=gap.missed)
