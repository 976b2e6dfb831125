"""What all parts of a bus stand on: names, time, counters, log lines, limits."""

from dataclasses import dataclass
from typing import Final

import structlog

from base.clock import Clock, ServerClock
from presence.metrics import BusMetrics
from storage.redis.bus_limits import BusLimits
from storage.redis.keys import Keys

LOG_EVERY_MS: Final = 10_000

logger = structlog.get_logger(__name__)


class Warnings:
    """Log lines of which one in ten seconds says it all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged_at: dict[str, int] = {}

    def warn(self, kind: str, **facts: object) -> None:
        now = self._clock.monotonic_ms()
        if now - self._logged_at.get(kind, -LOG_EVERY_MS) >= LOG_EVERY_MS:
            self._logged_at[kind] = now
            logger.warning(f"bus.{kind}", **facts)


@dataclass(frozen=True, slots=True)
class Ground:
    """Of one bus."""

    keys: Keys
    clock: ServerClock
    metrics: BusMetrics
    limits: BusLimits
    warnings: Warnings
