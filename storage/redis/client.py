"""How Minuet connects to Redis or Valkey, and how Lua scripts are loaded.

Decides pool, timeouts and retries once for every adapter. Scripts are files beside this module, each with KEYS,
ARGV and result in its header; they run by EVALSHA and are loaded again where the server lost them.
"""

import asyncio
from collections.abc import Iterable
from importlib.resources import files

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from base.errors import Unavailable
from storage.redis.cluster import ClusterRedis
from storage.redis.cluster_url import ClusterUrl
from storage.redis.metrics import ClusterMetrics
from storage.redis.multiplexed import MultiplexedRedis
from storage.redis.script import Script

RETRY_AFTER_MS = 1_000

# What an adapter turns into `Unavailable`: the server is away, loading, or read-only.
UNAVAILABLE_ERRORS = (RedisError, OSError, TimeoutError)


class _Cancellable(AbstractConnection):
    """Lets no cancellation get lost, and no lost connection pass for a mistake of ours.

    The library writes within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes just when
    the write is done (bpo-37658). A task that outlives its own end keeps the whole process from stopping.

    Where a connection is cut right after it was made, uvloop refuses the write with a RuntimeError, which the library
    does not know for what it is.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        task = asyncio.current_task()
        asked_before = 0 if task is None else task.cancelling()
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection was lost: {error}") from error
        if task is not None and task.cancelling() > asked_before:
            # Its answer will come when nobody listens for it any more.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class _Tcp(_Cancellable, Connection):
    pass


class _Tls(_Cancellable, SSLConnection):
    pass


class _Unix(_Cancellable, UnixDomainSocketConnection):
    pass


_CANCELLABLE: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}


class _UnavailableWhenAway:
    """One for all: each command goes through it, and a generator made for it would cost more than its script call."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, UNAVAILABLE_ERRORS):
            raise Unavailable(f"Redis: {type(error).__name__}", retry_after_ms=RETRY_AFTER_MS) from error


_UNAVAILABLE_WHEN_AWAY = _UnavailableWhenAway()


def unavailable_when_away() -> _UnavailableWhenAway:
    """Turns whatever the client raises when Redis does not answer into `Unavailable`."""
    return _UNAVAILABLE_WHEN_AWAY


def connect(
    url: str,
    *,
    max_connections: int = 32,
    timeout_s: float = 2.0,
    cluster: bool = False,
    metrics: ClusterMetrics | None = None,
) -> Redis:
    """A client whose commands wait at most `timeout_s` for a connection and for an answer.

    With `cluster` the URL leads to any nodes of one, several of them separated by commas; each node has a pool of its own.

    Raises: ValueError for a URL that leads to no server.
    """
    if not cluster:
        return MultiplexedRedis.from_pool(_pool(url, max_connections, timeout_s))
    nodes = ClusterUrl.parse(url)
    return ClusterRedis(
        nodes.seeds,
        lambda node: _pool(nodes.of(node), max_connections, timeout_s),
        metrics,
        patience_s=timeout_s,
    )


def _pool(url: str, max_connections: int, timeout_s: float) -> ConnectionPool:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=False,
        # One immediate retry on a fresh socket: an idle connection may have been cut, the server need not be away.
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    pool.connection_class = _CANCELLABLE[pool.connection_class]
    return pool


def load_script(redis: Redis, name: str) -> Script:
    """The script `storage/redis/scripts/<name>.lua`, ready to be called with `keys=` and `args=`."""
    source = files("storage.redis").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
    # A cluster's client has to know it where a server has lost it.
    redis.register_script(source)
    return Script(redis, source)
