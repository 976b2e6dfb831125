"""How Minuet connects to PostgreSQL: one pool, bounded waits, one meaning of "away".

Decides timeouts, codecs and which failures are the server's absence; refuses to know any table. Repositories take
connections by `acquire` or `transaction`, never from the pool itself, so that an outage reaches callers as
`Unavailable` and nothing else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

from base.errors import Unavailable

RETRY_AFTER_MS = 1_000

# What means "away for the moment". A constraint that was broken or a wrong statement is not among them.
UNAVAILABLE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,  # starting up, or in recovery
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,  # shutdown, crash of another backend, a statement that was cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InterfaceError,  # the connection died in our hands
    asyncpg.InternalClientError,
)


async def open_pool(
    url: str, *, min_size: int = 0, max_size: int = 10, timeout_s: float = 5.0, name: str = "minuet"
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool over `url`; with `min_size` 0 it opens even while the server is away.

    `timeout_s` bounds each of: connecting, waiting for a free connection, one statement, and a wait for a lock.

    Raises:
        Unavailable: connections were wanted at once and the server is away.
    """
    try:
        return await asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout_s,
            command_timeout=timeout_s,
            # Connections that idle are closed before a firewall forgets them.
            max_inactive_connection_lifetime=300.0,
            init=_prepare_connection,
            reset=_leave_as_it_is,
            server_settings={
                "application_name": name,
                "timezone": "UTC",
                "search_path": "public",  # as in migrations
                # The server must not work on for a client that has given up.
                "statement_timeout": str(round(timeout_s * 1000)),
                "lock_timeout": str(round(timeout_s * 1000)),
                "idle_in_transaction_session_timeout": str(round(timeout_s * 2000)),
            },
        )
    except UNAVAILABLE_ERRORS as error:
        raise away(error) from error


@asynccontextmanager
async def acquire(
    pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0
) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
    """A connection of the pool for the length of the block.

    Raises:
        Unavailable: none came free within `timeout_s`, or the server went away inside the block.
    """
    try:
        # The same bound also holds for the release, which waits for a statement that is being cancelled.
        async with pool.acquire(timeout=timeout_s) as connection:
            yield connection
    except UNAVAILABLE_ERRORS as error:
        raise away(error) from error


@asynccontextmanager
async def transaction(
    pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0
) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
    """A connection in a transaction that commits when the block ends without an exception.

    Raises:
        Unavailable: as `acquire`; when it comes from the commit itself, the outcome is not known.
    """
    async with acquire(pool, timeout_s=timeout_s) as connection, connection.transaction():
        yield connection


def away(error: BaseException) -> Unavailable:
    """The refusal that callers see for one of `UNAVAILABLE_ERRORS`; the cause stays in its chain."""
    return Unavailable(
        f"The database is away ({type(error).__name__}).",
        retry_after_ms=RETRY_AFTER_MS,
    )


async def ping(pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 1.0) -> None:
    """Ask the server for an answer, for readiness probes.

    Raises:
        Unavailable: there was none within `timeout_s`.
    """
    async with acquire(pool, timeout_s=timeout_s) as connection:
        await connection.fetchval("SELECT 1", timeout=timeout_s)


async def _prepare_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_json, decoder=orjson.loads, format="text"
    )


async def _leave_as_it_is(_connection: Any) -> None:
    """Spares the round trip of asyncpg's `RESET ALL` and what goes with it after each use.

    No repository changes its session (`SET`, `LISTEN`, advisory locks of a session, temporary tables); a transaction that
    was left open asyncpg still rolls back.
    """


def _encode_json(value: Any) -> str:
    return orjson.dumps(value).decode()
