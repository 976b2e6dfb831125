"""Answers remembered by idempotency key, for ten minutes. Fits `rest.ports.Replies`.

State changes are idempotent by themselves; this makes a repeated request get the same words too. It is bounded by
the callers' rate limits: an entry is at most a few kilobytes and lives ten minutes.
"""

import hashlib
from typing import Any

import msgspec
from redis.asyncio import Redis

from base.errors import ErrorCode, MinuetError, Unavailable
from rest.ports import StoredReply
from storage.redis.client import UNAVAILABLE_ERRORS
from storage.redis.keys import Keys

KEEP_S = 600
# A request that has not finished by then has died with its node.
RESERVED_S = 30
LARGEST_BODY = 4_096
RETRY_AFTER_MS = 1_000


class InProgress(MinuetError):
    """Another request with this key is being handled."""

    code = ErrorCode.CONFLICT


class RedisReplies:
    """One key a (user, idempotency key), in the user's slot."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def begin(self, user_id: str, key: str, fingerprint: str) -> StoredReply | None:
        """Reserve the key, or return the answer that it has.

        Raises:
            InProgress: another request with this key has not finished.
            Unavailable: Redis is away.
        """
        name = self._name(user_id, key)
        try:
            if await self._redis.set(name, b"", nx=True, ex=RESERVED_S):
                return None
            stored: Any = await self._redis.get(name)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        if not stored:
            raise InProgress("The same request is being handled.", retry_after_ms=RETRY_AFTER_MS)
        return msgspec.convert(msgspec.msgpack.decode(stored), StoredReply)

    async def finish(self, user_id: str, key: str, reply: StoredReply) -> None:
        """Keep the answer. One that is too long is not kept: a repeated request is then done again."""
        if len(reply.body) > LARGEST_BODY:
            await self.abandon(user_id, key)
            return
        try:
            await self._redis.set(self._name(user_id, key), msgspec.msgpack.encode(reply), ex=KEEP_S)
        except UNAVAILABLE_ERRORS:
            # The request was done; its answer must not turn into an error. A retry is idempotent by itself.
            return

    async def abandon(self, user_id: str, key: str) -> None:
        try:
            await self._redis.delete(self._name(user_id, key))
        except UNAVAILABLE_ERRORS:
            # The reservation runs out by itself.
            return

    def _name(self, user_id: str, key: str) -> str:
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self._keys.reply(user_id, digest)
