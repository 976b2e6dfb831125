"""Answers by idempotency key on a real Valkey, against `rest.ports.Replies`."""

import asyncio

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from minuet.embedded import EmbeddedValkey
from rest.ports import StoredReply
from storage.redis.client import connect
from storage.redis.idempotency import KEEP_S, LARGEST_BODY, RESERVED_S, InProgress, RedisReplies
from storage.redis.keys import Keys

KEYS = Keys("test:")
REPLY = StoredReply("print", 200, b'{"success":true}')


@pytest.fixture
def replies(redis: Redis) -> RedisReplies:
    return RedisReplies(redis, KEYS)


async def test_a_finished_request_is_answered_again_with_the_same_words(
    replies: RedisReplies, redis: Redis
) -> None:
    """For ten minutes, to that user with that key."""
    assert await replies.begin("ada", "k1", "print") is None
    await replies.finish("ada", "k1", REPLY)

    assert await replies.begin("ada", "k1", "print") == REPLY
    assert await replies.begin("eve", "k1", "print") is None
    assert await replies.begin("ada", "k2", "print") is None
    [name] = [key for key in await redis.keys("*") if await redis.strlen(key)]
    assert KEEP_S - 5 < await redis.ttl(name) <= KEEP_S


async def test_of_the_same_request_at_once_one_is_done(replies: RedisReplies) -> None:
    """The others are told to wait."""
    outcomes = await asyncio.gather(
        *(replies.begin("ada", "k1", "print") for _ in range(10)), return_exceptions=True
    )

    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, InProgress) for outcome in outcomes) == 9


async def test_a_request_that_changed_nothing_may_be_tried_again(replies: RedisReplies, redis: Redis) -> None:
    """And one that died with its node is free again after half a minute."""
    await replies.begin("ada", "k1", "print")
    [name] = await redis.keys("*")
    reserved_s = await redis.ttl(name)
    await replies.abandon("ada", "k1")

    assert 0 < reserved_s <= RESERVED_S
    assert await replies.begin("ada", "k1", "print") is None


async def test_an_answer_that_is_too_long_is_not_kept(replies: RedisReplies, redis: Redis) -> None:
    """Memory is bounded; the request is idempotent by itself."""
    await replies.begin("ada", "k1", "print")
    await replies.finish("ada", "k1", StoredReply("print", 200, b"x" * (LARGEST_BODY + 1)))

    assert await redis.dbsize() == 0


async def test_without_redis_a_done_request_stays_done(private_valkey: EmbeddedValkey) -> None:
    """Beginning is refused; finishing and giving up are silent."""
    client = connect(private_valkey.url, timeout_s=0.5)
    replies = RedisReplies(client, KEYS)
    await private_valkey.kill()

    with pytest.raises(Unavailable):
        await replies.begin("ada", "k1", "print")
    await replies.finish("ada", "k1", REPLY)
    await replies.abandon("ada", "k1")
    await client.aclose()
