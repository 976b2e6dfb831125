"""Pipelines over the shared connection: as the library's, but for their price."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from minuet.embedded import EmbeddedValkey
from storage.redis import multiplexed
from storage.redis.client import connect
from tests.contract.calls.lossy_proxy import lossy_proxy


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    return one_redis


async def test_replies_come_in_order_and_in_their_shapes(redis: Redis) -> None:
    """Whatever the commands are, and however many."""
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(300):
            pipe.set(f"key {number}", number)
            pipe.get(f"key {number}")
            pipe.hgetall("nothing")
        pipe.zadd("sorted", {"m": 1.5})
        pipe.zrange("sorted", 0, -1, withscores=True)
        replies = await pipe.execute()

    expected = [reply for number in range(300) for reply in (True, str(number).encode(), {})]
    assert replies[:-2] == expected
    assert replies[-2] == 1
    assert [list(one) for one in replies[-1]] == [[b"m", 1.5]]


async def test_nobody_elses_command_waits_for_another_connection(redis: Redis) -> None:
    """What is asked beside a pipeline goes the same way, over the one connection that is there."""
    before = (await redis.info("stats"))["total_connections_received"]
    pipe = redis.pipeline(transaction=False)
    for _ in range(50):
        pipe.incr("n")
    replies, *others = await asyncio.gather(pipe.execute(), *(redis.incr("n") for _ in range(50)))

    assert sorted([*replies, *others]) == list(range(1, 101))
    assert (await redis.info("stats"))["total_connections_received"] == before


async def test_a_script_that_the_server_lost_is_loaded_again(redis: Redis) -> None:
    """Once for all that need it; what was done before is not done again."""
    script = redis.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    async with redis.pipeline(transaction=False) as pipe:
        pipe.incr("plain")
        for _ in range(3):
            await script(keys=["n"], args=[2], client=pipe)
        first = await pipe.execute()
    await redis.script_flush()
    async with redis.pipeline(transaction=False) as pipe:
        pipe.incr("plain")
        await script(keys=["n"], args=[2], client=pipe)
        second = await pipe.execute()

    assert first == [1, 2, 4, 6]
    assert second == [2, 8]


async def test_errors_are_raised_or_given(each_redis: Redis) -> None:
    """The first of them, after everything was done; or each where its reply would stand. On a cluster, too."""
    await each_redis.set("word", "no list")
    async with each_redis.pipeline(transaction=False) as pipe:
        pipe.lpush("word", 1)
        pipe.set("other", "done")
        with pytest.raises(ResponseError):
            await pipe.execute()
    async with each_redis.pipeline(transaction=False) as pipe:
        pipe.lpush("word", 1)
        pipe.get("other")
        wrong, right = await pipe.execute(raise_on_error=False)

    assert isinstance(wrong, ResponseError)
    assert right == b"done"


async def test_a_pipeline_can_be_filled_again(redis: Redis) -> None:
    """What was executed is not executed once more; an empty one asks nothing."""
    pipe = redis.pipeline(transaction=False)
    pipe.incr("n")
    first = await pipe.execute()
    pipe.incr("n")
    second = await pipe.execute()

    assert (first, second, await pipe.execute()) == ([1], [2], [])


async def test_a_cut_connection_is_not_noticed(redis: Redis) -> None:
    """One immediate second try, on a fresh connection."""
    for _ in range(5):
        await redis.ping()
        assert await redis.client_kill_filter(_type="normal", skipme=True) >= 0
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(20):
                pipe.echo(str(number))
            assert await pipe.execute() == [str(number).encode() for number in range(20)]


async def test_what_was_answered_is_not_asked_again(redis_url: str) -> None:
    """The connection is lost with the answers on their way: all of them are asked for once more, none twice."""
    async with lossy_proxy(redis_url) as proxy:
        redis = connect(proxy.url)
        await redis.ping()
        pipe = redis.pipeline(transaction=False)
        for _ in range(10):
            pipe.incr("n")
        proxy.lose_next = True
        replies = await pipe.execute()
        total = await redis.get("n")
        await redis.aclose()

    assert proxy.lost == 1
    assert replies == list(range(11, 21))
    assert total == b"20"


async def test_beyond_the_bound_a_pipeline_is_refused_and_others_are_not(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting costs memory; what could be asked was asked once, and the connection goes on."""
    await redis.ping()
    monkeypatch.setattr(multiplexed, "MAX_PENDING", 10)
    pipe = redis.pipeline(transaction=False)
    for _ in range(30):
        pipe.incr("n")

    with pytest.raises(RedisConnectionError):
        await pipe.execute()

    # Ten at first, ten of the others at the second try.
    assert await redis.get("n") == b"20"


async def test_a_server_that_is_away_is_told(private_valkey: EmbeddedValkey) -> None:
    """By the library's error, and the next pipeline finds it again."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    await redis.ping()
    await private_valkey.kill()
    pipe = redis.pipeline(transaction=False)
    pipe.get("key")
    with pytest.raises(RedisConnectionError):
        await pipe.execute()
    await private_valkey.start()
    pipe.get("key")

    assert await pipe.execute() == [None]
    await redis.aclose()
