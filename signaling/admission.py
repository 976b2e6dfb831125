"""Who may begin a handshake: a token bucket for each address, bounded in number."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from signaling.session.limits import Rate, TokenBucket

MAX_ADDRESSES: Final = 50_000


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
