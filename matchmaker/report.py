"""The operators' picture of the queues: how many wait, for how long, how fast they are served, why they are not."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from base.clock import ServerClock
from base.policy import Gender, IntentPolicy
from matchmaker.outlook import Spread, waiting_since
from matchmaker.pools import Depths
from matchmaker.queue_store import OutlookSource
from matchmaker.scoring import Rule


class SideReport(msgspec.Struct, frozen=True, kw_only=True):
    """One side: tickets by state, how long those waiting have waited, and those matched in the last two minutes had."""

    depth: dict[str, int]
    waiting_s: Spread
    matched_wait_s: Spread
    matched_per_minute: float


class QueueReport(msgspec.Struct, frozen=True, kw_only=True):
    """One intent's pool. `seen_at` is when its owner last spoke (Unix ms), or nothing where it has none.

    `rejections` counts, in a sample of those whom people met first in the queue and did not fit, by which rule.
    """

    seen_at: int | None
    sides: dict[Gender, SideReport]
    rejections: dict[Rule, int]


class QueuesReport(msgspec.Struct, frozen=True, kw_only=True):
    """All intents; `at` is Unix ms."""

    queues: dict[str, QueueReport]
    at: int


class PoolNumbers(OutlookSource, Protocol):
    """Knows pools by their numbers."""

    async def depths(self, pool: str) -> Depths: ...


class QueueReports:
    """Makes reports."""

    def __init__(self, pools: PoolNumbers, policies: Mapping[str, IntentPolicy], clock: ServerClock) -> None:
        self._pools = pools
        self._policies = policies
        self._clock = clock

    async def report(self) -> QueuesReport:
        """The picture of this moment.

        Raises:
            Unavailable: the store is away.
        """
        return QueuesReport(
            queues={intent: await self._report_pool(intent) for intent in self._policies},
            at=self._clock.now_ms(),
        )

    async def _report_pool(self, pool: str) -> QueueReport:
        depths, outlook = await self._pools.depths(pool), await self._pools.outlook(pool)
        now_ms = self._clock.now_ms()
        sides = {}
        for side in Gender:
            seen = outlook.sides.get(side) if outlook is not None else None
            sides[side] = SideReport(
                depth={state.name.lower(): count for state, count in depths[side].items()},
                waiting_s=waiting_since(seen, now_ms) if seen is not None else Spread(),
                matched_wait_s=seen.matched_wait_s if seen is not None else Spread(),
                matched_per_minute=round(seen.matched_per_s * 60, 1) if seen is not None else 0.0,
            )
        return QueueReport(
            seen_at=outlook.at if outlook is not None else None,
            sides=sides,
            rejections=dict(outlook.rejections) if outlook is not None else {},
        )
