"""The lease of one node incarnation, as its holder may judge it.

Decides when to renew, and from when on the holder must believe that others think it dead. Refuses to know the store
and what is done about a lapse. Times are milliseconds of the machine's monotonic clock.
"""

from presence.nodes import LEASE_TTL_MS, RENEW_EVERY_MS

RETRY_EVERY_MS = 250


class Lease:
    """Counts from the moment a successful renewal was *asked for*.

    The store counts from when it answered, which is later: the holder is always the first to know of its end.
    """

    __slots__ = ("_next_try_at", "_renewed_at")

    def __init__(self) -> None:
        self._renewed_at: int | None = None
        self._next_try_at = 0

    @property
    def renewed_at(self) -> int | None:
        """When the last successful renewal was asked for; None before the first, and after an end."""
        return self._renewed_at

    def renewed(self, asked_at: int) -> None:
        """The store says that the lease is ours."""
        self._renewed_at = asked_at
        self._next_try_at = asked_at + RENEW_EVERY_MS

    def failed(self, now: int) -> None:
        """The store did not answer: try again soon, the lease runs on."""
        self._next_try_at = now + RETRY_EVERY_MS

    def ended(self, now: int) -> None:
        """The store says that the lease is gone."""
        self._renewed_at = None
        self._next_try_at = now

    def is_held(self, now: int) -> bool:
        return self._renewed_at is not None and now - self._renewed_at < LEASE_TTL_MS

    def age_ms(self, now: int) -> int | None:
        """How long ago the last successful renewal was asked for."""
        return None if self._renewed_at is None else now - self._renewed_at

    def wait_ms(self, now: int) -> int:
        """How long to wait until the next try."""
        return max(0, self._next_try_at - now)
