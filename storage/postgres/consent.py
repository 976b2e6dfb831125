"""The consent log of calls, in PostgreSQL: written with the call, read to be checked, and gone when it has been kept for long enough.

Decides nothing but columns: what an entry is and how it is hashed is `signaling.call.consent`'s, what may be deleted is
the function `calls.purge_consent` of `0005_consent_log.sql`, without which the table gives nothing up.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from jobs.ports import Expired
from signaling.call import consent
from signaling.call.record import Call
from signaling.moderation import KeptLog, PersonView
from storage.postgres.pool import acquire, transaction
from storage.postgres.times import milliseconds, milliseconds_or_none, moment

# What is there already stays as it is: a log only grows.
INSERT_ENTRIES = """
INSERT INTO calls.consent_events (call_id, number, at, kind, by_seat, sender_seat, detail, count, hash)
SELECT * FROM unnest(
    $1::uuid[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bytea[]
)
ON CONFLICT (call_id, number) DO NOTHING
"""
ENTRY_COLUMNS = 9

# Those without entries as well: two recorders must not both go on from the same end.
LOCK_CALLS = """
SELECT id, consent_purged_at IS NOT NULL AS is_purged
FROM calls.calls
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR UPDATE
"""

# A statement of its own: one that waited for a lock would still see the entries as they were before it waited.
SELECT_ENTRIES = """
SELECT call_id, number, at, kind, by_seat, sender_seat, detail, count, hash
FROM calls.consent_events
WHERE call_id = ANY ($1::uuid[])
ORDER BY call_id, number
"""

# One statement, so that a log which grows at this moment is seen whole.
SELECT_LOGS = """
SELECT
    c.id, c.intent, c.live_at, c.ended_at, c.reason, c.consent_head,
    a.user_id AS a_user_id, a.role AS a_role, b.user_id AS b_user_id, b.role AS b_role,
    e.number, e.at, e.kind, e.by_seat, e.sender_seat, e.detail, e.count, e.hash
FROM calls.calls c
JOIN calls.participants a ON a.call_id = c.id AND a.seat = 'a'
JOIN calls.participants b ON b.call_id = c.id AND b.seat = 'b'
LEFT JOIN calls.consent_events e ON e.call_id = c.id
WHERE c.id = ANY ($1::uuid[]) AND c.consent_purged_at IS NULL
ORDER BY c.id, e.number
"""


@dataclass(frozen=True, slots=True)
class SealedLog:
    """The log of a call as it is to be kept: its entries with their hashes, and the hash that is kept beside it."""

    entries: Sequence[consent.Entry]
    hashes: Sequence[bytes]
    head: bytes

    @property
    def seal(self) -> tuple[int, bytes]:
        return len(self.entries), self.head


NO_SEAL: Final = (None, None)
"""Of a log that is kept no more."""


async def sealed_logs(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", calls: Sequence[Call]
) -> tuple[dict[str, SealedLog], set[UUID]]:
    """By call: its log as its record has it, or behind what is kept already, where that has another past.

    Not of those whose log was kept for long enough: what comes after that would stay for ever. Also which of the calls are
    there, and locked; who writes another at the same moment may have sealed it otherwise.
    """
    locked = {
        row["id"]: row["is_purged"]
        for row in await connection.fetch(LOCK_CALLS, [call.call_id for call in calls])
    }
    rows = await connection.fetch(SELECT_ENTRIES, list(locked)) if locked else []
    kept = {str(call_id): list(of_call) for call_id, of_call in groupby(rows, key=itemgetter("call_id"))}
    logs: dict[str, SealedLog] = {
        call.call_id: _sealed(call, kept.get(call.call_id, ()))
        for call in calls
        if not locked.get(UUID(call.call_id), False)
    }
    return logs, set(locked)


def entry_rows(call_id: str, log: SealedLog) -> Iterable[tuple[Any, ...]]:
    """The rows of a call's log."""
    for entry, hashed in zip(log.entries, log.hashes, strict=True):
        yield (
            call_id,
            entry.number,
            moment(entry.at),
            entry.kind,
            entry.by,
            entry.sender,
            entry.detail,
            entry.count,
            hashed,
        )


def _sealed(call: Call, kept: Sequence[asyncpg.Record]) -> SealedLog:
    log = consent.entries(call)
    chain = consent.hashes(call, log)
    found = [row["hash"] for row in kept]
    common = min(len(found), len(chain))
    if found[:common] == chain[:common] or None in found:
        # By the record and not by the rows.
        return SealedLog(log, chain, consent.head(call))
    # The store had lost what history knew by then: what is kept stays as it is, and the rest comes behind.
    log, chain = consent.grown([_entry(row) for row in kept], found, log)
    return SealedLog(log, chain, chain[-1])


def kept_logs(rows: Iterable[asyncpg.Record]) -> list[KeptLog]:
    """The logs in the rows of `SELECT_LOGS`; nothing in them has been checked."""
    return [_kept_log(list(of_call)) for _, of_call in groupby(rows, key=itemgetter("id"))]


def _kept_log(rows: Sequence[asyncpg.Record]) -> KeptLog:
    call = rows[0]
    # A call without entries is one row without any.
    found = [row for row in rows if row["number"] is not None]
    return KeptLog(
        call_id=str(call["id"]),
        intent=call["intent"],
        live_at=milliseconds_or_none(call["live_at"]),
        ended_at=milliseconds(call["ended_at"]),
        reason=call["reason"],
        people={
            "a": PersonView(user_id=str(call["a_user_id"]), role=call["a_role"]),
            "b": PersonView(user_id=str(call["b_user_id"]), role=call["b_role"]),
        },
        entries=[_entry(row) for row in found],
        hashes=[row["hash"] for row in found],
        head=call["consent_head"],
    )


def _entry(row: asyncpg.Record) -> consent.Entry:
    return consent.Entry(
        number=row["number"],
        at=milliseconds(row["at"]),
        kind=row["kind"],
        by=row["by_seat"],
        sender=row["sender_seat"],
        detail=row["detail"],
        count=row["count"],
    )


class PostgresConsentLogs:
    """Deletes logs that have been kept for `kept_ms` since their call ended."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", *, kept_ms: int, timeout_s: float = 20.0
    ) -> None:
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


class PostgresConsentAudit:
    """Reads all logs that are kept, in the order of the calls' ids."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 60.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    SELECT_IDS = """
    SELECT id FROM calls.calls WHERE id > $1 AND consent_purged_at IS NULL ORDER BY id LIMIT $2
    """

    async def logs(self, at_once: int = 500) -> AsyncIterator[KeptLog]:
        """Each log as it stands when its share is read. Raises: Unavailable."""
        last = UUID(int=0)
        while True:
            async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
                ids = [row["id"] for row in await connection.fetch(self.SELECT_IDS, last, at_once)]
                rows = await connection.fetch(SELECT_LOGS, ids)
            for log in kept_logs(rows):
                yield log
            if len(ids) < at_once:
                return
            last = ids[-1]


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_purge: type[Expired] = PostgresConsentLogs
