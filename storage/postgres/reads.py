"""Reads that may be a little old: from a replica while it is there and near, else from the primary.

Decides nothing about which reads those are: whoever asks here says that its answer may be some seconds behind what was
written. What has to be true this moment (who somebody is, who is blocked, what was just changed) goes to the primary.
"""

import asyncio
from typing import Any, Final, Protocol

import asyncpg
import structlog

from base.clock import Clock
from base.errors import Unavailable
from storage.postgres.lag import ReplicaAge
from storage.postgres.metrics import ReplicaMetrics
from storage.postgres.pool import acquire

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
LOOK_TIMEOUT_S: Final = 1.0
REPLICA_TIMEOUT_S: Final = 2.0


class Reads(Protocol):
    """Where something that may be a little old is read."""

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows. Raises: Unavailable."""
        ...


class PrimaryReads:
    """There is only one server."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows


class ReplicaReads:
    """A replica, and the primary for when it is away or too far behind. `watch` has to run.

    Where the primary is away the replica is read however old it is: it has all that can be had.
    """

    def __init__(
        self,
        primary: "asyncpg.Pool[asyncpg.Record]",
        replica: "asyncpg.Pool[asyncpg.Record]",
        clock: Clock,
        metrics: ReplicaMetrics,
        *,
        max_age_ms: int,
    ) -> None:
        self._primary = primary
        self._replica = replica
        self._reads = PrimaryReads(primary)
        self._clock = clock
        self._metrics = metrics
        self._max_age_ms = max_age_ms
        self._age = ReplicaAge()
        self._primary_is_away = False
        self._replica_is_away = True
        self._was_near: bool | None = None
        metrics.age.set_function(self._age_s)

    @property
    def is_near(self) -> bool:
        """Whether the replica is what reads go to now."""
        if self._replica_is_away:
            return False
        if self._primary_is_away:
            return True
        age_ms = self._age.age_ms(self._clock.monotonic_ms())
        return age_ms is not None and age_ms <= self._max_age_ms

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows. Raises: Unavailable where neither server has them."""
        if self.is_near:
            try:
                async with acquire(self._replica, timeout_s=REPLICA_TIMEOUT_S) as connection:
                    rows: list[asyncpg.Record] = await connection.fetch(
                        query, *arguments, timeout=REPLICA_TIMEOUT_S
                    )
            except Unavailable:
                # Gone a moment ago, or it took the query back because it had to replay what the primary cleared away.
                self._metrics.reads.labels("replica_failed").inc()
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
                # A migration that has not come there yet.
                self._metrics.reads.labels("replica_failed").inc()
            else:
                self._metrics.reads.labels("replica").inc()
                return rows
        else:
            self._metrics.reads.labels("primary").inc()
        return await self._reads.fetch(query, *arguments)

    async def watch(self) -> None:
        """Looks at both servers every second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Asks both how far they are; the primary first, so that what it says is at least as old as it seems."""
        await self._look_at_primary()
        await self._look_at_replica()
        if self.is_near is not self._was_near:
            self._was_near = self.is_near
            say = log.info if self.is_near else log.warning
            say("replica.near" if self.is_near else "replica.not_used", age_s=self._age_s())

    # Also asked of what is a replica itself, or was one a moment ago: then it is no primary to compare with.
    WRITTEN = """
    SELECT CASE WHEN pg_is_in_recovery() THEN NULL
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END
    """

    async def _look_at_primary(self) -> None:
        asked_at = self._clock.monotonic_ms()
        try:
            position = await self._ask(self._primary, self.WRITTEN)
        except Unavailable:
            self._primary_is_away = True
            return
        self._primary_is_away = False
        if position is not None:
            self._age.primary_wrote(position, asked_at)

    REPLAYED = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint"

    async def _look_at_replica(self) -> None:
        try:
            position = await self._ask(self._replica, self.REPLAYED)
        except Unavailable:
            self._replica_is_away = True
            return
        self._replica_is_away = False
        if position is not None:
            self._age.replica_replayed(position)

    async def _ask(self, pool: "asyncpg.Pool[asyncpg.Record]", query: str) -> int | None:
        async with acquire(pool, timeout_s=LOOK_TIMEOUT_S) as connection:
            position: int | None = await connection.fetchval(query, timeout=LOOK_TIMEOUT_S)
            return position

    def _age_s(self) -> float:
        age_ms = self._age.age_ms(self._clock.monotonic_ms())
        return -1.0 if age_ms is None else age_ms / 1000
