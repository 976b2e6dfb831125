"""What a hub stands on when it is measured: a Valkey, a PostgreSQL, and accounts with tokens.

Accounts are written straight into the database and tokens are signed here, since the price of a password hash is not
what is measured.
"""

import asyncio
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import asyncpg

from accounts.keys import KeyRing
from accounts.model import Role, User
from accounts.tokens import TokenIssuer, TokenScope
from base.clock import SystemClock
from base.ids import IdFactory
from base.policy import Gender
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.migrations import migrate

_TOKEN_S: Final = 86_400

CONFIG: Final = """
# Calls that outlast the measurement, between people who may meet again.
[intents.dating]
call_seconds = 86400.0
proposed_s = 60.0
connecting_s = 60.0
negotiation_s = 60.0
# Nobody negotiates as often as a measurement does.
max_offers = 1000
offers_s = 0.001
signaling_bytes = 1000000000000
recent_partner_s = 0.0
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in."""

    user_id: str
    token: str


@dataclass(frozen=True, slots=True)
class World:
    """Servers that run, people that exist. Women and men by turns."""

    people: list[Account]
    environment: Mapping[str, str]
    """For processes of `minuet`."""
    valkey_pid: int
    postgres_pid: int


@contextmanager
def opened_world(people: int, config: str = CONFIG) -> Iterator[World]:
    """Starts the servers, and stops them at the end."""
    with tempfile.TemporaryDirectory(prefix="minuet-bench-") as folder, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(_open(stack, Path(folder), people, config))
        finally:
            runner.run(stack.aclose())


async def _open(stack: AsyncExitStack, folder: Path, people: int, config: str) -> World:
    valkey = await stack.enter_async_context(EmbeddedValkey(folder / "valkey", durable=False))
    postgres = await stack.enter_async_context(EmbeddedPostgres(folder / "postgres", durable=False))
    await migrate(postgres.url)
    secret = secrets.token_urlsafe(48)
    accounts = await _settle(postgres.url, people, KeyRing.parse(secret))
    path = folder / "minuet.toml"
    path.write_text(config)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
    environment = {
        **inherited,
        "MINUET_CONFIG": str(path),
        "MINUET_REDIS_URL": valkey.url,
        "MINUET_DATABASE_URL": postgres.url,
        "MINUET_AUTH_SECRET": secret,
        "MINUET_PORT": "0",
        "MINUET_ADMIN_PORT": "0",
        "MINUET_LOG_LEVEL": "error",
        "MINUET_HANDSHAKES_PER_ADDRESS_S": "1000000",
        "MINUET_MAX_SESSIONS": "100000",
        # How fast it can be, not how fast it is let be.
        "MINUET_HANDSHAKES_PER_S": "1000000",
        "MINUET_MAX_LOOP_LAG_S": "60",
    }
    if valkey.pid is None or postgres.pid is None:
        raise RuntimeError("a server of the benchmark did not start")
    return World(accounts, environment, valkey.pid, postgres.pid)


async def _settle(database_url: str, people: int, ring: KeyRing) -> list[Account]:
    clock = SystemClock()
    ids = IdFactory(clock.wall_ms, os.urandom)
    issuer = TokenIssuer(ring, TokenScope(), access_s=_TOKEN_S)
    users = [_user(ids, number, clock.wall_ms()) for number in range(people)]
    connection = await asyncpg.connect(database_url)
    try:
        await connection.copy_records_to_table(
            "users", schema_name="accounts", columns=_COLUMNS, records=map(_row, users)
        )
        # What autovacuum would do at a moment of its own choosing.
        await connection.execute("VACUUM ANALYZE accounts.users")
    finally:
        await connection.close()
    return [
        Account(user.id, issuer.issue(user, ids.new(), ids.new(), clock.wall_ms()).token) for user in users
    ]


def _user(ids: IdFactory, number: int, now_ms: int) -> User:
    return User(
        id=ids.new(),
        email=f"person{number}@example.org",
        email_verified_at=None,
        role=Role.USER,
        first_name="Sam",
        gender=Gender.MALE if number % 2 else Gender.FEMALE,
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
