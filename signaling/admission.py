"""Who may begin a handshake: a token bucket for each address, bounded in number, and a gate for the whole node."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from signaling.metrics import SessionMetrics
from signaling.session.limits import Rate, TokenBucket

MAX_ADDRESSES: Final = 50_000
FULL_RETRY_S: Final = 2.0
BUSY_RETRY_S: Final = (1.0, 3.0)
"""Between these two, so that those who were turned away together do not come back together."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node takes on: sessions, handshakes per second, and how late its loop may be meanwhile."""

    sessions: int
    handshakes: Rate
    loop_lag_ms: int


class AcceptGate:
    """Whether the node takes one more. What it has it keeps: better some wait a moment than all for long."""

    def __init__(
        self,
        capacity: Capacity,
        sessions: Callable[[], int],
        loop_lag_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        metrics: SessionMetrics,
        random: Random,
    ) -> None:
        self._capacity = capacity
        self._sessions = sessions
        self._loop_lag_ms = loop_lag_ms
        self._monotonic_ms = monotonic_ms
        self._metrics = metrics
        self._random = random
        self._bucket = TokenBucket(capacity.handshakes, monotonic_ms())

    def admit(self) -> float | None:
        """None for yes, or after how many seconds to come back."""
        if self._sessions() >= self._capacity.sessions:
            self._metrics.turned_away("full")
            return FULL_RETRY_S
        if self._loop_lag_ms() > self._capacity.loop_lag_ms:
            self._metrics.turned_away("lag")
            return self._random.uniform(*BUSY_RETRY_S)
        if self._bucket.take(self._monotonic_ms()):
            self._metrics.turned_away("rate")
            return self._random.uniform(*BUSY_RETRY_S)
        return None


class AddressLimit:
    """Handshakes by address. Addresses not seen for longest are forgotten first; theirs are full buckets by then."""

    def __init__(
        self, rate: Rate, monotonic_ms: Callable[[], int], *, max_addresses: int = MAX_ADDRESSES
    ) -> None:
        self._rate = rate
        self._monotonic_ms = monotonic_ms
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def admit(self, address: str) -> float | None:
        """None for yes, or after how many seconds to come back."""
        now_ms = self._monotonic_ms()
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(self._rate, now_ms)
            if len(self._buckets) > self._max_addresses:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(address)
        wait_ms = bucket.take(now_ms)
        return wait_ms / 1000 if wait_ms else None
