"""Token buckets and growing delays in Redis, shared by all nodes. Fit `rest.ports.RateLimiter` and
`accounts.ports.LoginGuard`.

Each key lives only until its bucket is full again or its failures are forgotten: what is stored is bounded by the
requests of that time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from base.errors import Unavailable
from rest.ports import Bucket
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.keys import Keys

RETRY_AFTER_MS = 1_000


class RedisRateLimiter:
    """One token bucket a (scope, subject)."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._keys = keys
        self._take = load_script(redis, "rate_limit")

    async def take(self, scope: str, subject: str, *, capacity: int, window_ms: int) -> Bucket:
        try:
            taken, remaining, reset_ms, retry_after_ms = await self._take(
                keys=[self._keys.rate_limit(scope, subject)], args=[capacity, window_ms]
            )
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        return Bucket(bool(taken), remaining, reset_ms, retry_after_ms)


@dataclass(frozen=True, slots=True)
class Delays:
    """How attempts are slowed down: `free` failures cost nothing, then the delay doubles from `first_s`."""

    free: int
    first_s: float
    longest_s: float
    remembered_s: float


# Somebody at one address who guesses the password of one account.
PAIR_DELAYS = Delays(free=5, first_s=1, longest_s=900, remembered_s=3_600)
# Guesses from many addresses. The longest delay is short, since the owner waits behind the guessers.
ACCOUNT_DELAYS = Delays(free=20, first_s=1, longest_s=30, remembered_s=3_600)


class RedisLoginGuard:
    """Growing delays by account and address, and milder ones by account alone; `nonce` gives a new text each time.

    Guessing must not become cheap by taking Redis away, so without Redis there are no attempts: `Unavailable`.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        nonce: Callable[[], str],
        *,
        pair: Delays = PAIR_DELAYS,
        account: Delays = ACCOUNT_DELAYS,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._nonce = nonce
        self._pair = pair
        self._account = account
        self._attempt = load_script(redis, "rate_failures")

    async def attempt(self, account: str, address: str) -> int:
        pair_key, account_key = self._keys_of(account, address)
        try:
            # The pair first: one address that is refused must not count against the account.
            early_ms = await self._count(pair_key, self._pair)
            return early_ms or await self._count(account_key, self._account)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error

    async def succeeded(self, account: str, address: str) -> None:
        try:
            for key in self._keys_of(account, address):
                await self._redis.delete(key)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error

    async def _count(self, key: str, delays: Delays) -> int:
        early_ms: int = await self._attempt(
            keys=[key],
            args=[
                delays.free,
                round(delays.first_s * 1000),
                round(delays.longest_s * 1000),
                round(delays.remembered_s * 1000),
                self._nonce(),
            ],
        )
        return early_ms

    def _keys_of(self, account: str, address: str) -> tuple[str, str]:
        return (
            self._keys.rate_limit("login-pair", f"{account}:{address}"),
            self._keys.rate_limit("login-account", account),
        )
