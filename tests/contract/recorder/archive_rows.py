"""Looks into PostgreSQL behind the repositories' back, and puts people there for calls to belong to."""

from datetime import UTC, date, datetime

import asyncpg

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
