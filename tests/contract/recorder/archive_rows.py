"""Looks into PostgreSQL behind the repositories' back, and puts people there for calls to belong to, and reports on calls."""

from datetime import UTC, date, datetime

import asyncpg

from base.ids import CallId, UserId
from safety.records import Report, ReportCategory
from signaling.call.record import Call
from storage.postgres.safety import PostgresSafety
from storage.postgres.times import moment
from tests.contract.calls.call_records import new_id

INSERT_USER = """
INSERT INTO accounts.users (id, email, password_hash, first_name, gender, birth_date, created_at, updated_at)
VALUES ($1, $1::uuid::text || '@example.test', 'x', $2, $3, $4, $5, $5)
"""


async def add_user(connection: asyncpg.Connection, first_name: str, gender: str) -> str:
    user_id = new_id()
    await connection.execute(INSERT_USER, user_id, first_name, gender, date(1995, 5, 5), datetime.now(tz=UTC))
    return user_id


async def add_pair(connection: asyncpg.Connection) -> tuple[str, str]:
    return await add_user(connection, "Ada", "female"), await add_user(connection, "Bob", "male")


async def count(connection: asyncpg.Connection, table: str) -> int:
    number: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  a test's own names
    return number


async def report(pool: asyncpg.Pool, call: Call, *, made_at: int) -> str:
    """Whoever sits on seat a reports the other; the id of the report, which is open."""
    made = Report(
        id=new_id(),
        by_id=UserId(call.a.user_id),
        other_id=UserId(call.b.user_id),
        call_id=CallId(call.call_id),
        category=ReportCategory.OTHER,
        note="",
        made_at=made_at,
    )
    await PostgresSafety(pool).write([made])
    return made.id


async def resolve(connection: asyncpg.Connection, report_id: str, *, at: int) -> None:
    await connection.execute(
        "UPDATE safety.reports SET resolved_at = $2, resolution = 'no_action' WHERE id = $1",
        report_id,
        moment(at),
    )
