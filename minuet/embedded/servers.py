"""Both servers at once, for `minuet dev`: those that have no URL of their own are started here."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from minuet.embedded.postgres import EmbeddedPostgres
from minuet.embedded.server import EmbeddedServer
from minuet.embedded.state import StateLock
from minuet.embedded.valkey import EmbeddedValkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Where Redis and PostgreSQL are, and those of them that are ours."""

    redis_url: str
    database_url: str
    valkey: EmbeddedValkey | None
    postgres: EmbeddedPostgres | None


@asynccontextmanager
async def embedded_servers(
    state_dir: Path,
    *,
    redis_url: str | None = None,
    database_url: str | None = None,
    durable: bool = True,
) -> AsyncIterator[Servers]:
    """Start, side by side, the servers whose URL is not given; stop them, side by side, on the way out.

    Raises:
        EmbeddedServerError: one could not start; the other is stopped then.
    """
    valkey = None if redis_url else EmbeddedValkey(state_dir, durable=durable)
    postgres = None if database_url else EmbeddedPostgres(state_dir, durable=durable)
    ours: list[EmbeddedServer] = [server for server in (valkey, postgres) if server is not None]
    # One lock for the whole folder: of two starts at once one must get both servers, not each one of them.
    lock = StateLock(state_dir)
    if ours:
        lock.acquire()
    try:
        try:
            await _all(server.start() for server in ours)
            yield Servers(
                redis_url=valkey.url if valkey else str(redis_url),
                database_url=postgres.url if postgres else str(database_url),
                valkey=valkey,
                postgres=postgres,
            )
        finally:
            await _all(server.stop() for server in ours)
    finally:
        lock.release()


async def _all(steps: Iterable[Coroutine[object, object, object]]) -> None:
    """Run all to their end, also when one fails, then raise the first failure as it was."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
