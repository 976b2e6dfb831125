"""People who can sign in, written straight into the database, with tokens signed here.

Sign-ups and the price of a password hash are not what is measured, or broken, by whoever needs a crowd.
"""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Final

import asyncpg

from accounts.keys import KeyRing
from accounts.model import Role, User
from accounts.tokens import TokenIssuer, TokenScope
from base.clock import SystemClock
from base.ids import IdFactory
from base.policy import Gender

_TOKEN_S: Final = 86_400


async def settle(
    connection: asyncpg.Connection, secret: str, number: int, first_name: Callable[[int], str]
) -> list[tuple[User, str]]:
    """Writes so many accounts, women and men by turns; each with a token that is good for a day."""
    clock = SystemClock()
    ids = IdFactory(clock.wall_ms, os.urandom)
    issuer = TokenIssuer(KeyRing.parse(secret), TokenScope(), access_s=_TOKEN_S)
    now_ms = clock.wall_ms()
    users = [_user(ids.new(), index, first_name(index), now_ms) for index in range(number)]
    await _write(connection, users)
    return [(user, issuer.issue(user, ids.new(), ids.new(), now_ms).token) for user in users]


def _user(user_id: str, index: int, first_name: str, now_ms: int) -> User:
    return User(
        id=user_id,
        email=f"{user_id}@example.org",
        email_verified_at=None,
        role=Role.USER,
        first_name=first_name,
        gender=Gender.MALE if index % 2 else Gender.FEMALE,
        birth_date=date(1995, 4, 1),
        languages=("en",),
        region=None,
        locale=None,
        terms_version=None,
        privacy_version=None,
        created_at=now_ms,
        updated_at=now_ms,
    )


_COLUMNS: Final = (
    "id",
    "email",
    "password_hash",
    "role",
    "first_name",
    "gender",
    "birth_date",
    "languages",
    "created_at",
    "updated_at",
)


async def _write(connection: asyncpg.Connection, users: Iterable[User]) -> None:
    await connection.copy_records_to_table(
        "users", schema_name="accounts", columns=_COLUMNS, records=map(_row, users)
    )


def _row(user: User) -> tuple[object, ...]:
    created = datetime.fromtimestamp(user.created_at / 1000, UTC)
    return (
        user.id,
        user.email,
        "nobody signs in with a password here",
        user.role,
        user.first_name,
        user.gender,
        user.birth_date,
        list(user.languages),
        created,
        created,
    )
