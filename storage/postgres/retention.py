"""What is deleted when it has been kept for long enough, each as a `jobs.ports.Expired`.

Each share is one short transaction over rows that an index finds, and leaves out what another worker has in hand. For how
long is the settings' to say; that an open report keeps what it is about is said here.
"""

from typing import TYPE_CHECKING, Final

import asyncpg

from jobs.ports import Expired
from storage.postgres.pool import transaction
from storage.postgres.times import moment

REMOVED_BLOCKS_KEPT_MS: Final = 30 * 86_400_000
"""A block that is written again by its id stays taken back for as long; whoever writes one does so within hours."""


class PostgresRetention:
    """Deletes what is older than `kept_ms`, by one statement: `$1` is the moment before which it is, `$2` how many at most."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", purge: str, *, kept_ms: int, timeout_s: float = 20.0
    ) -> None:
        self._pool = pool
        self._purge = purge
        self._kept_ms = kept_ms
        self._timeout_s = timeout_s

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Deletes at most `limit`. Raises: Unavailable."""
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            purged: int = await connection.fetchval(self._purge, moment(now_ms - self._kept_ms), limit)
        return purged


# With its participants and refusals. Its consent log goes first, and has a time of its own; what an open report is about
# stays. An entry of the log that came late would not let its call go, and with it the whole share.
PURGE_CALLS = """
WITH due AS (
    SELECT c.id
    FROM calls.calls c
    WHERE c.consent_purged_at IS NOT NULL
        AND c.ended_at < $1
        AND NOT EXISTS (SELECT FROM safety.reports r WHERE r.call_id = c.id AND r.resolved_at IS NULL)
        AND NOT EXISTS (SELECT FROM calls.consent_events e WHERE e.call_id = c.id)
    ORDER BY c.ended_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM calls.calls c USING due WHERE c.id = due.id RETURNING 1
)
SELECT count(*) FROM gone
"""

PURGE_FEEDBACK = """
WITH due AS (
    SELECT f.call_id, f.user_id FROM calls.feedback f
    WHERE f.given_at < $1 AND NOT EXISTS (SELECT FROM calls.calls c WHERE c.id = f.call_id)
    ORDER BY f.given_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM calls.feedback f USING due
    WHERE f.call_id = due.call_id AND f.user_id = due.user_id RETURNING 1
)
SELECT count(*) FROM gone
"""

PURGE_REPORTS = """
WITH due AS (
    SELECT r.id FROM safety.reports r
    WHERE r.resolved_at < $1 ORDER BY r.resolved_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM safety.reports r USING due WHERE r.id = due.id RETURNING 1
)
SELECT count(*) FROM gone
"""

PURGE_REMOVED_BLOCKS = """
WITH due AS (
    SELECT b.id FROM safety.blocks b
    WHERE b.removed_at < $1 ORDER BY b.removed_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM safety.blocks b USING due WHERE b.id = due.id RETURNING 1
)
SELECT count(*) FROM gone
"""

PURGE_AUDIT_LOG = "SELECT safety.purge_audit_log($1, $2)"

if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_purge: type[Expired] = PostgresRetention
