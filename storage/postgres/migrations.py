"""Brings a database to the schema of this release: numbered SQL files, forward only.

Each `migrations/NNNN_name.sql` runs once, in a transaction of its own together with the row that says so. An
advisory lock lets one process migrate at a time; a lock timeout keeps a migration from queueing behind a long
transaction with all of the site's traffic behind it. A file that was applied must never change: its checksum is kept.

An older release may run on a newer schema (rolling updates), so migrations known only to the database are accepted.
"""

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from storage.postgres.pool import UNAVAILABLE_ERRORS, acquire, away

COMMAND = "minuet migrate up"
FLOOR = 150_000  # server_version_num of PostgreSQL 15
# Any number, the same in all releases.
ADVISORY_LOCK = 7_305_808_868_977_013_108
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 600_000
CONNECT_TIMEOUT_S = 10.0
OTHER_MIGRATOR_S = 120.0
POLL_S = 0.1

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class MigrationError(Exception):
    """The database cannot be brought to, or is not at, the schema of this release. For operators, not clients."""


class SchemaStale(MigrationError):
    """Migrations of this release are missing in the database."""


class MigrationChanged(MigrationError):
    """A migration file is not the one that was applied."""


class MigrationFailed(MigrationError):
    """A migration was refused by the database; it left no trace."""


class ServerTooOld(MigrationError):
    """The PostgreSQL server is older than the oldest one we support."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        return f"{self.version:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of the database's own list. `applied_at` is Unix milliseconds."""

    version: int
    name: str
    checksum: str
    applied_at: int

    @property
    def label(self) -> str:
        return f"{self.version:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has beside what this release brings."""

    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    changed: tuple[str, ...]
    unknown: tuple[Applied, ...]


def load(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of this release (or of `folder`), in order.

    Raises:
        ValueError: a file is misnamed, or two have the same number.
    """
    found: dict[int, Migration] = {}
    for entry in (folder or files("storage.postgres").joinpath("migrations")).iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(entry.name)
        if match is None:
            raise ValueError(f"{entry.name} is not named NNNN_name.sql")
        # A checkout with other line ends must not look like a change.
        sql = entry.read_text(encoding="utf-8").replace("\r\n", "\n")
        migration = Migration(int(match[1]), match[2], sql)
        if migration.version in found:
            raise ValueError(f"two migrations have the number {match[1]}")
        found[migration.version] = migration
    return [found[version] for version in sorted(found)]


async def migrate(database_url: str, migrations: list[Migration] | None = None) -> list[Migration]:
    """Apply what is missing, in order; return what was applied now.

    Raises:
        Unavailable: the server is away, or another process has been migrating for longer than two minutes.
        ServerTooOld, MigrationChanged, MigrationFailed: see there. Migrations before the failed one stay applied.
    """
    wanted = load() if migrations is None else migrations
    connection = await _connect(database_url)
    try:
        await _refuse_old_server(connection)
        await _lock(connection)
        await connection.execute(CREATE_TABLE)
        state = compare(wanted, await _applied(connection))
        if state.changed:
            raise MigrationChanged(
                f"applied migrations were changed afterwards: {', '.join(state.changed)}; restore the files"
            )
        for migration in state.pending:
            await _apply(connection, migration)
        return list(state.pending)
    except UNAVAILABLE_ERRORS as error:
        raise away(error) from error
    finally:
        # Ends the session and with it the advisory lock, also when the server does not answer.
        await _close(connection)


async def status(database_url: str, migrations: list[Migration] | None = None) -> Status:
    """What `migrate` would find; changes nothing.

    Raises:
        Unavailable: the server is away.
    """
    connection = await _connect(database_url)
    try:
        return compare(load() if migrations is None else migrations, await _applied(connection))
    except UNAVAILABLE_ERRORS as error:
        raise away(error) from error
    finally:
        await _close(connection)


async def check_schema(
    pool: "asyncpg.Pool[asyncpg.Record]", migrations: list[Migration] | None = None
) -> None:
    """Return when the database has every migration of this release.

    Raises:
        Unavailable: the server is away.
        SchemaStale, MigrationChanged, ServerTooOld: the message says what to do.
    """
    async with acquire(pool) as connection:
        await _refuse_old_server(connection)
        state = compare(load() if migrations is None else migrations, await _applied(connection))
    if state.pending:
        missing = ", ".join(migration.label for migration in state.pending)
        raise SchemaStale(
            f"the database lacks {missing}: run `{COMMAND}` with the same settings, then start again"
        )
    if state.changed:
        raise MigrationChanged(
            f"applied migrations were changed afterwards: {', '.join(state.changed)}; restore the files"
        )


def compare(wanted: list[Migration], applied: list[Applied]) -> Status:
    """What is pending, changed and unknown between a release and a database."""
    have = {row.version: row for row in applied}
    known = {migration.version for migration in wanted}
    return Status(
        applied=tuple(applied),
        pending=tuple(migration for migration in wanted if migration.version not in have),
        changed=tuple(
            migration.label
            for migration in wanted
            if migration.version in have and have[migration.version].checksum != migration.checksum
        ),
        unknown=tuple(row for row in applied if row.version not in known),
    )


async def _connect(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await asyncpg.connect(
            database_url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={
                "application_name": "minuet-migrate",
                "timezone": "UTC",
                # By default a schema named like the user comes first, and there is one named `minuet`.
                "search_path": "public",
                "lock_timeout": str(LOCK_TIMEOUT_MS),
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            },
        )
    except UNAVAILABLE_ERRORS as error:
        raise away(error) from error


async def _close(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except UNAVAILABLE_ERRORS:
        connection.terminate()


SERVER_VERSION = "SELECT current_setting('server_version_num')::int"


async def _refuse_old_server(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    version = await connection.fetchval(SERVER_VERSION)
    if version < FLOOR:
        raise ServerTooOld(f"PostgreSQL {version // 10_000} is too old: Minuet needs 15 or later")


TRY_LOCK = "SELECT pg_try_advisory_lock($1)"


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    # Polled: a session that waits inside the server would hold a snapshot and stand in the way of the other's DDL.
    give_up_at = time.monotonic() + OTHER_MIGRATOR_S
    while not await connection.fetchval(TRY_LOCK, ADVISORY_LOCK):
        if time.monotonic() >= give_up_at:
            raise TimeoutError("another process is migrating")
        await asyncio.sleep(POLL_S)


CREATE_TABLE = """
CREATE SCHEMA IF NOT EXISTS minuet;
CREATE TABLE IF NOT EXISTS minuet.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

TABLE_EXISTS = "SELECT to_regclass('minuet.migrations') IS NOT NULL"

LIST_APPLIED = """
SELECT version, name, checksum, (extract(epoch FROM applied_at) * 1000)::bigint AS applied_at
FROM minuet.migrations
ORDER BY version
"""


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Applied]:
    if not await connection.fetchval(TABLE_EXISTS):
        return []
    return [Applied(*row) for row in await connection.fetch(LIST_APPLIED)]


RECORD = "INSERT INTO minuet.migrations (version, name, checksum) VALUES ($1, $2, $3)"


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(RECORD, migration.version, migration.name, migration.checksum)
    except UNAVAILABLE_ERRORS:
        raise
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{migration.label}: {error}") from error
