"""Answers remembered by idempotency key, for ten minutes. Fits `rest.ports.Replies`.

State changes are idempotent by themselves; this makes a repeated request get the same words too. It is bounded by
the callers' rate limits: an entry is at most a few kilobytes and lives ten minutes. What Redis loses is forgotten:
the request is then done again.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from redis.asyncio import Redis

from base.errors import Unavailable
from rest.ports import InProgress, KeyReused, Replies, ReplyKey, Reservation, StoredReply
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.keys import Keys

KEEP_S = 600
# A request that has not finished by then has died with its node.
RESERVED_S = 30
LARGEST_BODY = 4_096
RETRY_AFTER_MS = 1_000


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """What stands under a key: an answer, or with status 0 a reservation and its nonce."""

    fingerprint: str
    status: int
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class RedisReplies:
    """One key a (user, route, idempotency key), in the user's slot; `nonce` gives a new text each time."""

    def __init__(self, redis: Redis, keys: Keys, nonce: Callable[[], str]) -> None:
        self._redis = redis
        self._keys = keys
        self._nonce = nonce
        self._settle = load_script(redis, "reply_settle")

    async def begin(self, key: ReplyKey, fingerprint: str) -> Reservation | StoredReply:
        """Reserve the key, or return the answer that it has.

        Raises:
            KeyReused: it was used for a request with another fingerprint.
            InProgress: the same request has not finished.
            Unavailable: Redis is away.
        """
        reservation = Reservation(key, fingerprint, self._nonce())
        name = self._name(key)
        try:
            if await self._redis.set(name, _reserved(reservation), nx=True, ex=RESERVED_S):
                return reservation
            stored: Any = await self._redis.get(name)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        if stored == _reserved(reservation):
            # Reserved at the first asking, whose answer was lost on its way: the client of Redis asked again by itself.
            return reservation
        if stored is None:
            # It was given up between the two looks.
            raise _in_progress()
        entry = _decode(stored)
        if entry.fingerprint != fingerprint:
            raise KeyReused("This Idempotency-Key was used for another request.")
        if entry.status == 0:
            raise _in_progress()
        return StoredReply(entry.status, entry.body)

    async def finish(self, reservation: Reservation, status: int, body: bytes) -> None:
        """Keep the answer. One that is too long is not kept: a repeated request is then done again."""
        if len(body) > LARGEST_BODY:
            await self.abandon(reservation)
            return
        await self._replace(reservation, _encode(_Entry(reservation.fingerprint, status, body)))

    async def abandon(self, reservation: Reservation) -> None:
        await self._replace(reservation, b"")

    async def _replace(self, reservation: Reservation, stored: bytes) -> None:
        try:
            await self._settle(
                keys=[self._name(reservation.key)], args=[_reserved(reservation), stored, KEEP_S * 1000]
            )
        except UNAVAILABLE_ERRORS:
            # The request was done; its answer must not turn into an error. The reservation runs out by itself, and
            # whoever repeats the request after that has it done again.
            return

    def _name(self, key: ReplyKey) -> str:
        digest = hashlib.sha256(f"{key.route}\n{key.key}".encode()).hexdigest()[:32]
        return self._keys.reply(key.user_id, digest)


def _reserved(reservation: Reservation) -> bytes:
    return _encode(_Entry(reservation.fingerprint, 0, reservation.nonce.encode()))


def _in_progress() -> InProgress:
    return InProgress("The same request is being handled.", retry_after_ms=RETRY_AFTER_MS)


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits: type[Replies] = RedisReplies
