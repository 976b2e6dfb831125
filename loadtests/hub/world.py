"""What a hub stands on when it is measured: a Valkey, a PostgreSQL, and accounts with tokens."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from loadtests.hub.accounts import settle
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.migrations import migrate

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
    accounts = await _settle(postgres.url, secret, people)
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


async def _settle(database_url: str, secret: str, people: int) -> list[Account]:
    connection = await asyncpg.connect(database_url)
    try:
        settled = await settle(connection, secret, people, lambda _index: "Sam")
        # What autovacuum would do at a moment of its own choosing.
        await connection.execute("VACUUM ANALYZE accounts.users")
    finally:
        await connection.close()
    return [Account(user.id, token) for user, token in settled]
