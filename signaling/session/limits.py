"""How much one connection may send: token buckets by kind of message.

Pure: time is an argument, in milliseconds of a clock that never goes backwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from base.errors import ErrorCode, MinuetError
from signaling.protocol.messages.call import CallCandidates
from signaling.protocol.messages.chat import ChatSend, ChatTyping
from signaling.protocol.messages.family import ClientMessage
from signaling.protocol.messages.presence import PresenceSet
from signaling.protocol.messages.queue import QueueJoin

_CANDIDATES: Final = CallCandidates.TYPE


class RateLimited(MinuetError):
    """Too many messages of a kind; nothing was done."""

    code = ErrorCode.RATE_LIMITED


class Flooded(Exception):
    """So many messages of a kind that is never refused that the connection has to go."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, refilled at `per_s` each second."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Everything that bounds one session. Bytes and milliseconds where not said else."""

    messages: Rate = Rate(20, 40)
    candidates: Rate = Rate(5, 50)
    queue_joins: Rate = Rate(0.1, 6)
    presence: Rate = Rate(1, 5)
    """`presence.set`: each change is written for the user and for the ticket."""
    chat: Rate = Rate(5, 10)
    typing: Rate = Rate(0.5, 2)
    """Over it `chat.typing` is dropped; over `typing_flood` the connection is closed with 4007."""
    typing_flood: Rate = Rate(20, 200)
    control_frames: Rate = Rate(5, 100)
    """Pings and pongs of the WebSocket itself; over it the connection is closed with 4007."""
    max_refusals: int = 200
    """After this many refused messages the connection is closed with 4007."""
    max_malformed: int = 10
    """After this many unreadable payloads the connection is closed with 4500."""
    max_frame_bytes: int = 64 * 1024
    start_timeout_ms: int = 5_000
    outbox_messages: int = 128
    outbox_bytes: int = 256 * 1024
    pending_commands: int = 64
    drop_ephemeral_above: int = 64 * 1024
    close_slow_above: int = 256 * 1024
    slow_after_ms: int = 10_000


class TokenBucket:
    """A bucket of one rate; starts full."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now_ms: int) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now_ms

    def take(self, now_ms: int) -> int:
        """Takes one token. Returns 0, or the milliseconds until there is one again."""
        rate = self._rate
        tokens = self._tokens + (now_ms - self._at) * rate.per_s / 1000
        if tokens > rate.burst:
            tokens = rate.burst
        self._at = now_ms
        if tokens >= 1:
            self._tokens = tokens - 1
            return 0
        self._tokens = tokens
        return max(1, round((1 - tokens) * 1000 / rate.per_s))

    def left(self, now_ms: int) -> float:
        """How many there are."""
        return min(self._rate.burst, self._tokens + (now_ms - self._at) * self._rate.per_s / 1000)

    def keep_to(self, tokens: float, now_ms: int) -> None:
        """Has no more than so many."""
        self._tokens = min(self.left(now_ms), tokens)
        self._at = now_ms


class Limiter:
    """The buckets of one session. One that is still full is not there: most sessions only ever use one or two."""

    __slots__ = ("_buckets", "_limits")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._buckets: dict[str, TokenBucket] = {}

    def left(self, now_ms: int) -> dict[str, float]:
        """What is in the buckets, but for the full ones."""
        return {name: bucket.left(now_ms) for name, bucket in self._buckets.items()}

    def keep_to(self, left: Mapping[str, float], now_ms: int) -> None:
        """Goes on with what another limiter of this session had left; a bucket that it did not know is full."""
        for name, rate in self._rates().items():
            if name in left:
                self._bucket(name, rate, now_ms).keep_to(left[name], now_ms)

    def check(self, message: ClientMessage, now_ms: int) -> bool:
        """Counts the message; false where it is to be dropped without a word.

        Raises: RateLimited, with `retry_after_ms`; Flooded.
        """
        limits = self._limits
        # Candidates come in bursts of their own and must not starve the commands beside them.
        type_ = message.TYPE
        if type_ == _CANDIDATES:
            bucket = self._buckets.get("candidates") or self._bucket("candidates", limits.candidates, now_ms)
            wait_ms = bucket.take(now_ms)
        elif type_ == ChatTyping.TYPE:
            if self._bucket("typing_flood", limits.typing_flood, now_ms).take(now_ms):
                raise Flooded
            return not self._bucket("typing", limits.typing, now_ms).take(now_ms)
        else:
            wait_ms = self._bucket("messages", limits.messages, now_ms).take(now_ms)
            if not wait_ms and type_ == QueueJoin.TYPE:
                wait_ms = self._bucket("joins", limits.queue_joins, now_ms).take(now_ms)
            elif not wait_ms and type_ == PresenceSet.TYPE:
                wait_ms = self._bucket("presence", limits.presence, now_ms).take(now_ms)
            elif not wait_ms and type_ == ChatSend.TYPE:
                wait_ms = self._bucket("chat", limits.chat, now_ms).take(now_ms)
        if wait_ms:
            raise RateLimited(retry_after_ms=wait_ms)
        return True

    def _bucket(self, name: str, rate: Rate, now_ms: int) -> TokenBucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(rate, now_ms)
        return bucket

    def _rates(self) -> dict[str, Rate]:
        """By the names that sessions take with them to other nodes."""
        limits = self._limits
        return {
            "messages": limits.messages,
            "candidates": limits.candidates,
            "joins": limits.queue_joins,
            "presence": limits.presence,
            "chat": limits.chat,
            "typing": limits.typing,
            "typing_flood": limits.typing_flood,
        }
