"""Answers by idempotency key on a real Valkey, against `rest.ports.Replies`."""

import asyncio
import itertools

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from minuet.embedded import EmbeddedValkey
from rest.ports import InProgress, KeyReused, ReplyKey, Reservation, StoredReply
from storage.redis.client import connect
from storage.redis.idempotency import KEEP_S, LARGEST_BODY, RESERVED_S, RedisReplies
from storage.redis.keys import Keys
from tests.contract.calls.lossy_proxy import lossy_proxy

KEYS = Keys("test:")
CONNECT = "POST /interactions/{call_id}/connect"
PASS = "POST /interactions/{call_id}/pass"
KEY = ReplyKey("ada", CONNECT, "k1")
BODY = b'{"success":true}'


def replies_on(redis: Redis) -> RedisReplies:
    numbers = itertools.count()
    return RedisReplies(redis, KEYS, lambda: f"nonce-{next(numbers)}")


@pytest.fixture
def replies(redis: Redis) -> RedisReplies:
    return replies_on(redis)


async def reserved(replies: RedisReplies, key: ReplyKey = KEY, fingerprint: str = "print") -> Reservation:
    reservation = await replies.begin(key, fingerprint)
    assert isinstance(reservation, Reservation)
    return reservation


async def test_a_finished_request_is_answered_again_with_the_same_words(
    replies: RedisReplies, redis: Redis
) -> None:
    """For ten minutes."""
    await replies.finish(await reserved(replies), 200, BODY)

    assert await replies.begin(KEY, "print") == StoredReply(200, BODY)
    [name] = await redis.keys("*")
    assert KEEP_S - 5 < await redis.ttl(name) <= KEEP_S


async def test_a_key_means_something_only_for_its_user_on_its_route(replies: RedisReplies) -> None:
    """Everybody may count from one, for each kind of request."""
    await replies.finish(await reserved(replies), 200, BODY)

    for other in (
        ReplyKey("eve", CONNECT, "k1"),
        ReplyKey("ada", PASS, "k1"),
        ReplyKey("ada", CONNECT, "k2"),
    ):
        assert isinstance(await replies.begin(other, "print"), Reservation), other


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "under way"])
async def test_another_request_with_the_key_is_refused(replies: RedisReplies, is_finished: bool) -> None:
    """Also while the first has no answer yet: nobody waits for what is not theirs."""
    reservation = await reserved(replies)
    if is_finished:
        await replies.finish(reservation, 200, BODY)

    with pytest.raises(KeyReused):
        await replies.begin(KEY, "another print")


async def test_of_the_same_request_at_once_one_is_done(replies: RedisReplies) -> None:
    """The others are told to wait."""
    outcomes = await asyncio.gather(*(replies.begin(KEY, "print") for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InProgress) for outcome in outcomes) == 9


async def test_a_reservation_whose_answer_was_lost_is_still_ones_own(redis_url: str) -> None:
    """Asked again by the client itself, it finds its own reservation: the request is done, not told to wait for itself."""
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        replies = replies_on(client)
        await client.ping()
        proxy.lose_next = True
        reservation = await reserved(replies)
        await replies.finish(reservation, 200, BODY)
        repeated = await replies.begin(KEY, "print")
        await client.aclose()

    assert proxy.lost == 1
    assert repeated == StoredReply(200, BODY)


async def test_a_request_that_was_given_up_may_be_done_anew(replies: RedisReplies, redis: Redis) -> None:
    """And one that died with its node is free again after half a minute."""
    reservation = await reserved(replies)
    [name] = await redis.keys("*")
    reserved_s = await redis.ttl(name)
    await replies.abandon(reservation)

    assert 0 < reserved_s <= RESERVED_S
    assert isinstance(await replies.begin(KEY, "print"), Reservation)


@pytest.mark.parametrize("ends", ["finish", "abandon"])
async def test_a_reservation_that_ran_out_settles_nothing(
    replies: RedisReplies, redis: Redis, ends: str
) -> None:
    """The key is somebody else's by then: their answer stands, and so does their right to give one."""
    slow = await reserved(replies)
    await redis.flushdb()
    quick = await reserved(replies)

    if ends == "finish":
        await replies.finish(slow, 409, b"{}")
    else:
        await replies.abandon(slow)
    with pytest.raises(InProgress):
        await replies.begin(KEY, "print")
    await replies.finish(quick, 200, BODY)
    await replies.abandon(slow)

    assert await replies.begin(KEY, "print") == StoredReply(200, BODY)


async def test_an_answer_that_is_too_long_is_not_kept(replies: RedisReplies, redis: Redis) -> None:
    """Memory is bounded; the request is idempotent by itself."""
    await replies.finish(await reserved(replies), 200, b"x" * (LARGEST_BODY + 1))

    assert await redis.dbsize() == 0


async def test_without_redis_a_done_request_stays_done(private_valkey: EmbeddedValkey) -> None:
    """Beginning is refused; finishing and giving up are silent."""
    client = connect(private_valkey.url, timeout_s=0.5)
    replies = replies_on(client)
    reservation = await reserved(replies)
    await private_valkey.kill()

    with pytest.raises(Unavailable):
        await replies.begin(KEY, "print")
    await replies.finish(reservation, 200, BODY)
    await replies.abandon(reservation)
    await client.aclose()
