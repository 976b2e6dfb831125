"""The consent log of calls, in PostgreSQL: written with the call, and gone when it has been kept for long enough.

Decides nothing but columns: what an entry is and how it is hashed is `signaling.call.consent`'s, what may be deleted is
the function `calls.purge_consent` of `0005_consent_log.sql`, without which the table gives nothing up.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import asyncpg

from jobs.ports import Expired
from signaling.call import consent
from signaling.call.record import Call
from storage.postgres.pool import transaction
from storage.postgres.times import moment

# What is there already stays as it is: a log only grows.
INSERT_ENTRIES = """
INSERT INTO calls.consent_events (call_id, number, at, kind, by_seat, sender_seat, detail, count, hash)
SELECT * FROM unnest(
    $1::uuid[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bytea[]
)
ON CONFLICT (call_id, number) DO NOTHING
"""
ENTRY_COLUMNS = 9


def entry_rows(call: Call) -> Iterable[tuple[Any, ...]]:
    """The rows of a call's log."""
    log = consent.entries(call)
    for entry, hashed in zip(log, consent.hashes(call, log), strict=True):
        yield (
            call.call_id,
            entry.number,
            moment(entry.at),
            entry.kind,
            entry.by,
            entry.sender,
            entry.detail,
            entry.count,
            hashed,
        )


def seal(call: Call) -> tuple[int, bytes]:
    """How long a call's log is and what its last entry's hash has to be, by the record and not by the rows."""
    return len(call.events) + len(call.refused), consent.head(call)


class PostgresConsentLogs:
    """Deletes logs that have been kept for `kept_ms` since their call ended."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, kept_ms: int, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._kept_ms = kept_ms
        self._timeout_s = timeout_s

    PURGE = "SELECT calls.purge_consent($1, $2, $3)"

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Deletes the logs of at most `limit` calls, but of none that an open report is about. Raises: Unavailable."""
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            purged: int = await connection.fetchval(
                self.PURGE, moment(now_ms - self._kept_ms), limit, moment(now_ms)
            )
        return purged


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_purge: type[Expired] = PostgresConsentLogs
