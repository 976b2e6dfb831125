"""How Minuet connects to Redis or Valkey, and how Lua scripts are loaded.

Decides pool, timeouts and retries once for every adapter. Scripts are files beside this module, each with KEYS,
ARGV and result in its header; they run by EVALSHA and are loaded again where the server lost them.
"""

from importlib.resources import files

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

# What an adapter turns into `Unavailable`: the server is away, loading, or read-only.
UNAVAILABLE_ERRORS = (RedisError, OSError, TimeoutError)


def connect(url: str, *, max_connections: int = 32, timeout_s: float = 2.0) -> Redis:
    """A client whose commands wait at most `timeout_s` for a connection and for an answer."""
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
    return Redis.from_pool(pool)


def load_script(redis: Redis, name: str) -> AsyncScript:
    """The script `storage/redis/scripts/<name>.lua`, ready to be called with `keys=` and `args=`."""
    source = files("storage.redis").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
    return redis.register_script(source)
