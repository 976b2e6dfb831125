"""Reports, the logs that they open, and the audit log, in PostgreSQL: `signaling.moderation.Cases`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import asyncpg

from signaling.moderation import Act, Cases, KeptLog, ReportView, Resolution
from storage.postgres.consent import SELECT_LOGS, kept_logs
from storage.postgres.pages import start_of
from storage.postgres.pool import acquire, transaction
from storage.postgres.times import milliseconds, milliseconds_or_none, moment

_REPORT = """
    r.id, r.reporter_id, r.reported_id, r.call_id, r.connection_id, r.category, r.note, r.created_at, r.resolved_at,
    r.resolved_by, r.resolution, r.resolution_note
"""


class PostgresCases:
    """Each act and its line in the audit log are one transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    SELECT_OPEN = f"""
    SELECT {_REPORT} FROM safety.reports r
    WHERE r.resolved_at IS NULL AND (r.created_at, r.id) < ($1, $2)
    ORDER BY r.created_at DESC, r.id DESC
    LIMIT $3
    """  # noqa: S608  names of columns only

    SELECT_RESOLVED = f"""
    SELECT {_REPORT} FROM safety.reports r
    WHERE r.resolved_at IS NOT NULL AND (r.created_at, r.id) < ($1, $2)
    ORDER BY r.created_at DESC, r.id DESC
    LIMIT $3
    """  # noqa: S608  names of columns only

    async def reports(
        self, status: Literal["open", "resolved"], *, before: tuple[int, str] | None, limit: int
    ) -> list[ReportView]:
        created_at, report_id = start_of(before)
        query = self.SELECT_OPEN if status == "open" else self.SELECT_RESOLVED
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(query, created_at, report_id, limit)
        return [_report(row) for row in rows]

    SELECT_REPORT = f"SELECT {_REPORT} FROM safety.reports r WHERE r.id = $1"  # noqa: S608  names of columns only

    async def report(self, report_id: str) -> ReportView | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(self.SELECT_REPORT, report_id)
        return None if row is None else _report(row)

    # Only while the report is open: whoever resolves it at this moment comes before or after, not in between.
    NOTE_READING = """
    INSERT INTO safety.audit_log (id, at, actor_id, action, report_id, call_id, user_id, request_id)
    SELECT $2::uuid, $3::timestamptz, $4::uuid, 'consent_log.read', r.id, r.call_id, r.reported_id, $5::text
    FROM safety.reports r
    WHERE r.id = $1 AND r.resolved_at IS NULL AND r.call_id IS NOT NULL
    FOR SHARE
    RETURNING call_id
    """

    SELECT_REFUSALS = "SELECT code, count FROM calls.refusals WHERE call_id = $1 ORDER BY code"

    async def read_log(self, report_id: str, act: Act) -> KeptLog | None:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            call_id = await connection.fetchval(self.NOTE_READING, report_id, *_columns(act))
            if call_id is None:
                return None
            logs = kept_logs(await connection.fetch(SELECT_LOGS, [call_id]))
            refusals = await connection.fetch(self.SELECT_REFUSALS, call_id)
        return replace(logs[0], refusals={row["code"]: row["count"] for row in refusals}) if logs else None

    RESOLVE = f"""
    UPDATE safety.reports r
    SET resolved_at = $2, resolved_by = $3, resolution = $4, resolution_note = $5
    WHERE r.id = $1 AND r.resolved_at IS NULL
    RETURNING {_REPORT}
    """  # noqa: S608  names of columns only

    NOTE_RESOLVING = """
    INSERT INTO safety.audit_log (id, at, actor_id, request_id, action, report_id, call_id, user_id, detail)
    VALUES ($1, $2, $3, $4, 'report.resolved', $5, $6, $7, $8)
    """

    async def resolve(
        self, report_id: str, resolution: Resolution, note: str | None, act: Act
    ) -> ReportView | None:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(
                self.RESOLVE, report_id, moment(act.at), act.actor_id, resolution, note
            )
            if row is None:
                return None
            await connection.execute(
                self.NOTE_RESOLVING, *_columns(act), row["id"], row["call_id"], row["reported_id"], resolution
            )
        return _report(row)


def _columns(act: Act) -> tuple[Any, ...]:
    return act.id, moment(act.at), act.actor_id, act.request_id


def _report(row: asyncpg.Record) -> ReportView:
    return ReportView(
        report_id=str(row["id"]),
        reporter_id=_text(row["reporter_id"]),
        reported_id=_text(row["reported_id"]),
        call_id=_text(row["call_id"]),
        connection_id=_text(row["connection_id"]),
        category=row["category"],
        note=row["note"],
        created_at=milliseconds(row["created_at"]),
        resolved_at=milliseconds_or_none(row["resolved_at"]),
        resolved_by=_text(row["resolved_by"]),
        resolution=None if row["resolution"] is None else Resolution(row["resolution"]),
        resolution_note=row["resolution_note"],
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits: type[Cases] = PostgresCases
