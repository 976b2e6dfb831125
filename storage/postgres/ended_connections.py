"""Connections that ended a while ago: deleted with all that was said in them. Fits `jobs.ports.Expired`."""

from typing import TYPE_CHECKING, Final

import asyncpg

from jobs.ports import Expired
from storage.postgres.pool import transaction
from storage.postgres.times import moment

KEPT_DAYS: Final = 30
_CONNECTIONS_AT_ONCE: Final = 100


class PostgresEndedConnections:
    """Until then a report about it can be judged, and a call that is written late does not bring it back."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        kept_ms: int = KEPT_DAYS * 86_400_000,
        timeout_s: float = 20.0,
    ) -> None:
        self._pool = pool
        self._kept_ms = kept_ms
        self._timeout_s = timeout_s

    # A case that is open keeps what it is about, whichever of their calls or connections it names.
    SELECT_DUE = """
    SELECT c.id FROM chat.connections c
    WHERE c.closed_at < $1 AND NOT EXISTS (
        SELECT FROM safety.reports r
        WHERE r.resolved_at IS NULL AND (
            r.connection_id = c.id
            OR (r.reporter_id = c.user_low AND r.reported_id = c.user_high)
            OR (r.reporter_id = c.user_high AND r.reported_id = c.user_low)
        )
    )
    ORDER BY c.closed_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
    """

    # Messages first and so many at most: two people may have said any number of things to each other.
    PURGE_MESSAGES = """
    WITH due AS (
        SELECT m.connection_id, m.number FROM chat.messages m WHERE m.connection_id = ANY ($1::uuid[]) LIMIT $2
    ), gone AS (
        DELETE FROM chat.messages m USING due
        WHERE m.connection_id = due.connection_id AND m.number = due.number RETURNING 1
    )
    SELECT count(*) FROM gone
    """

    PURGE_EMPTY = """
    WITH gone AS (
        DELETE FROM chat.connections c
        WHERE c.id = ANY ($1::uuid[]) AND NOT EXISTS (SELECT FROM chat.messages m WHERE m.connection_id = c.id)
        RETURNING 1
    )
    SELECT count(*) FROM gone
    """

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Deletes at most `limit` messages, and connections that have none left; how many both are. Raises: Unavailable."""
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(
                self.SELECT_DUE, moment(now_ms - self._kept_ms), min(limit, _CONNECTIONS_AT_ONCE)
            )
            if not rows:
                return 0
            due = [row["id"] for row in rows]
            messages: int = await connection.fetchval(self.PURGE_MESSAGES, due, limit)
            connections: int = await connection.fetchval(self.PURGE_EMPTY, due)
        return messages + connections


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_purge: type[Expired] = PostgresEndedConnections
