"""Rate limits of REST: which bucket a request draws from, and what the answer says about it.

Limits fail open: with Redis away requests go uncounted, which is logged and counted. They guard against too much
of what is allowed; what is not allowed is guarded elsewhere, and guessing passwords has a guard that fails closed.
"""

import math

import structlog
from aiohttp import web

from accounts.model import Identity
from base.clock import Clock
from base.errors import ErrorCode, MinuetError, Unavailable
from rest.client_address import subscriber
from rest.metrics import RestMetrics
from rest.ports import RateLimiter
from rest.settings import Limits, Rate

log = structlog.get_logger(__name__)

# After a failure the limiter is left alone for a while: each request would wait for its time-out in vain.
PAUSE_MS = 1_000

LIMIT_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("limit_headers", dict)


class RateLimited(MinuetError):
    """The caller's bucket is empty."""

    code = ErrorCode.RATE_LIMITED


class RequestLimits:
    """Draws a token for each request."""

    def __init__(self, limiter: RateLimiter, limits: Limits, clock: Clock, metrics: RestMetrics) -> None:
        self._limiter = limiter
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._paused_until_ms = 0

    async def charge_caller(self, request: web.Request, identity: Identity) -> None:
        """One token of the caller's tier.

        Raises:
            RateLimited: with the time to wait.
        """
        rate: Rate | None = getattr(self._limits, identity.role.value)
        await self._charge(request, identity.role.value, identity.user_id, rate)

    async def charge_address(self, request: web.Request, address: str, limit: str = "none") -> None:
        """One token of the address, of the tier of strangers or of a named limit.

        Raises:
            RateLimited: with the time to wait.
        """
        rate: Rate | None = getattr(self._limits, limit)
        await self._charge(request, limit, subscriber(address), rate)

    async def _charge(self, request: web.Request, tier: str, subject: str, rate: Rate | None) -> None:
        if rate is None:
            return
        if self._clock.monotonic_ms() < self._paused_until_ms:
            self._metrics.limiter_away.inc()
            return
        try:
            bucket = await self._limiter.take(
                f"http-{tier}", subject, capacity=rate.capacity, window_ms=round(rate.window_s * 1000)
            )
        except Unavailable as error:
            self._paused_until_ms = self._clock.monotonic_ms() + PAUSE_MS
            self._metrics.limiter_away.inc()
            log.warning("rate_limiter_away", error=repr(error.__cause__ or error))
            return
        full_at_s = math.ceil((self._clock.wall_ms() + bucket.reset_ms) / 1000)
        request[LIMIT_HEADERS] = {
            "X-RateLimit-Limit": str(rate.capacity),
            "X-RateLimit-Remaining": str(bucket.remaining),
            "X-RateLimit-Reset": str(full_at_s),
        }
        if not bucket.allowed:
            self._metrics.rate_limited.labels(tier).inc()
            raise RateLimited(retry_after_ms=bucket.retry_after_ms)
