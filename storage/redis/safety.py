"""Blocks in force, and the blocks and reports that wait for the archive.

What waits stands in a stream with one group of recorders: an entry belongs to the recorder that read it until it is
removed or its recorder has not been heard of for a while; then another claims it.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from base.errors import Unavailable
from base.ids import UserId
from safety.ports import BlockSets, PendingEntry, PendingRecords, SafetyLog
from safety.records import Block, Report, SafetyRecord, decode_record, encode_record
from storage.redis.client import UNAVAILABLE_ERRORS, load_script, unavailable_when_away
from storage.redis.copies import Copies
from storage.redis.keys import Keys

GROUP = "recorders"
RECORD = b"record"
CLAIM_AFTER_MS = 10_000
"""A recorder that holds entries for this long is dead, or waits for the database as everybody does."""
FORGET_AFTER_MS = 3_600_000
REFUSED_LENGTH = 10_000
CHUNK = 5_000
"""Arguments of one script call; Lua's stack takes about 8,000."""


class RedisSafetyLog:
    """Fits `safety.ports.SafetyLog`."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._copies = Copies(redis)
        self._restore = load_script(redis, "safety_restore")

    async def add_block(self, block: Block) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        _block(pipeline, self._keys, block.by_id, block.other_id)
        try:
            # Three slots, which may be of three servers. The record goes first: should only part of this be done, the
            # recorder does the rest, whereas a block that only the sets knew would not survive them.
            await self._add(block)
            await pipeline.execute()
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def add_report(self, report: Report) -> None:
        try:
            await self._add(report)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def _add(self, record: SafetyRecord) -> None:
        # Nobody else knows of it until the recorder has written it.
        fields: dict[Any, Any] = {RECORD: encode_record(record)}
        await self._copies.write(lambda pipe: pipe.xadd(self._keys.safety_pending(), fields))

    async def blocks(self, user_id: UserId) -> set[UserId]:
        try:
            members: Any = await self._redis.smembers(self._keys.blocks(user_id))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return {UserId(member.decode()) for member in members}

    async def forget(self, one: UserId, other: UserId) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.srem(self._keys.blocks(one), other)
        pipeline.srem(self._keys.blocks(other), one)
        with unavailable_when_away():
            await pipeline.execute()

    async def renew(self, one: UserId, other: UserId) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        _block(pipeline, self._keys, one, other)
        with unavailable_when_away():
            await pipeline.execute()

    async def restore_blocks(self, user_id: UserId, others: Collection[UserId]) -> None:
        keys = [self._keys.user(user_id), self._keys.blocks(user_id)]
        try:
            first, *rest = list(_chunks(others)) or [[]]
            # The mark comes with the last: until then they are not all known.
            for chunk in rest:
                await self._redis.sadd(keys[1], *chunk)
            await self._restore(keys=keys, args=first)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error


class RedisPendingRecords:
    """Fits `safety.ports.PendingRecords`."""

    def __init__(self, redis: Redis, keys: Keys, *, claim_after_ms: int = CLAIM_AFTER_MS) -> None:
        self._redis = redis
        self._keys = keys
        self._stream = keys.safety_pending()
        self._claim_after_ms = claim_after_ms
        self._tidy = load_script(redis, "safety_tidy")

    async def take(self, recorder: str, *, limit: int, wait_ms: int) -> list[PendingEntry]:
        try:
            claimed: Any = await self._redis.xautoclaim(
                self._stream, GROUP, recorder, self._claim_after_ms, count=limit
            )
            entries = claimed[1]
            if not entries:
                read: Any = await self._redis.xreadgroup(
                    GROUP, recorder, {self._stream: ">"}, count=limit, block=wait_ms
                )
                entries = read[0][1] if read else []
        except UNAVAILABLE_ERRORS as error:
            if isinstance(error, ResponseError) and str(error).startswith("NOGROUP"):
                # Nobody has read here yet, or the store lost everything. The next try finds it.
                await self._prepare()
                return []
            raise Unavailable from error
        return [PendingEntry(entry_id.decode(), _decode(fields)) for entry_id, fields in entries]

    async def renew_blocks(self, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for block in blocks:
            _block(pipeline, self._keys, block.by_id, block.other_id)
        try:
            await pipeline.execute()
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def remove(self, entry_ids: Sequence[str]) -> None:
        if not entry_ids:
            return
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xack(self._stream, GROUP, *entry_ids)
        pipeline.xdel(self._stream, *entry_ids)
        try:
            await pipeline.execute()
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def refuse(self, entry_id: str, reason: str) -> None:
        try:
            found: Any = await self._redis.xrange(self._stream, entry_id, entry_id)
            pipeline = self._redis.pipeline(transaction=True)
            for _, fields in found:
                pipeline.xadd(
                    f"{self._stream}:refused",
                    {**fields, b"reason": reason, b"entry": entry_id},
                    maxlen=REFUSED_LENGTH,
                )
            pipeline.xack(self._stream, GROUP, entry_id)
            pipeline.xdel(self._stream, entry_id)
            await pipeline.execute()
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def count(self) -> int:
        try:
            return int(await self._redis.xlen(self._stream))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def _prepare(self) -> None:
        try:
            # From the beginning: what was added before anybody could read it waits, too.
            await self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except UNAVAILABLE_ERRORS as error:
            if not str(error).startswith("BUSYGROUP"):  # another recorder was quicker
                raise Unavailable from error

    async def tidy(self) -> None:
        """Forgets recorders that are long gone and have nothing left to write."""
        try:
            await self._tidy(keys=[self._stream], args=[GROUP, FORGET_AFTER_MS])
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error


def _decode(fields: dict[bytes, bytes]) -> SafetyRecord | None:
    try:
        return decode_record(fields[RECORD])
    except (KeyError, msgspec.MsgspecError):
        return None


def _block(pipeline: Pipeline, keys: Keys, one: UserId, other: UserId) -> None:
    """Each is found on the other's list."""
    pipeline.sadd(keys.blocks(one), other)
    pipeline.sadd(keys.blocks(other), one)


def _chunks(others: Collection[UserId]) -> Iterator[list[UserId]]:
    rest = iter(others)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


if TYPE_CHECKING:  # says that the ports are met; their owners never import this module
    _fits_log: type[SafetyLog] = RedisSafetyLog
    _fits_sets: type[BlockSets] = RedisSafetyLog
    _fits_pending: type[PendingRecords] = RedisPendingRecords
