"""Who owns a pool and for how long, who else stands by for it, and how the owner says it looks there."""

import asyncio

from redis.asyncio import Redis

from base.policy import Gender
from matchmaker.outlook import Outlook, SideOutlook, Spread
from matchmaker.scoring import Rule
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.contract.matchmaker.friends_pool import POOL, TTL_MS, owner


async def test_a_pool_has_one_owner(queues: RedisQueues) -> None:
    """Another hears for how long the lease lasts; the owner asking again gets the token it has."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)
    theirs = await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)
    again = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)

    assert mine.token.endswith("-mine")
    assert theirs.token == ""
    assert 0 < theirs.held_ms <= TTL_MS
    assert again.token == mine.token


async def test_a_lease_ends_unless_it_is_kept(queues: RedisQueues) -> None:
    """The next owner's token is another and higher one, and the old owner learns that it is out."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)
    assert (await queues.keep_lease(POOL, mine.token, ttl_ms=60)).token == mine.token
    await asyncio.sleep(0.1)
    theirs = await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)

    assert int(theirs.token.partition("-")[0]) > int(mine.token.partition("-")[0])
    assert (await queues.keep_lease(POOL, mine.token, ttl_ms=TTL_MS)).token == ""


async def test_tokens_rise_whatever_the_clock_did(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """After a clock that was ahead, the stored number is the floor."""
    ahead = 9_000_000_000_000_000
    await redis.hset(keys.pool_counts(POOL), "token", ahead)

    assert (await owner(queues)).token == f"{ahead + 1}-nonce"


async def test_a_lease_is_given_up_by_its_owner_only(queues: RedisQueues) -> None:
    """Then anyone may take it at once."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)
    await queues.drop_lease(POOL, "1-other")
    assert (await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)).token == ""
    await queues.drop_lease(POOL, mine.token)

    assert (await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)).token


def outlook_at(at: int) -> Outlook:
    side = SideOutlook(
        waiting=3, marks=[(0, 1_000), (2, 3_000)], matched_per_s=0.5, matched_wait_s=Spread(p50=2.5)
    )
    return Outlook(at=at, sides=dict.fromkeys(Gender, side), rejections={Rule.REGION: 4})


async def test_everybody_reads_what_the_owner_publishes(queues: RedisQueues) -> None:
    """The newest; nothing before the first."""
    token = (await owner(queues)).token

    assert await queues.outlook(POOL) is None
    assert await queues.publish(POOL, token, outlook_at(1), ttl_ms=TTL_MS)
    assert await queues.publish(POOL, token, outlook_at(2), ttl_ms=TTL_MS)
    assert await queues.outlook(POOL) == outlook_at(2)


async def test_only_the_owner_publishes(queues: RedisQueues) -> None:
    """Whoever was frozen for too long has nothing more to say."""
    await owner(queues)

    assert not await queues.publish(POOL, "1-old", outlook_at(1), ttl_ms=TTL_MS)
    assert await queues.outlook(POOL) is None


async def test_what_nobody_repeats_is_forgotten(queues: RedisQueues) -> None:
    """Without an owner nobody is told how long it will take."""
    await queues.publish(POOL, (await owner(queues)).token, outlook_at(1), ttl_ms=20)
    await asyncio.sleep(0.05)

    assert await queues.outlook(POOL) is None


async def test_an_outlook_of_another_release_is_none(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """People wait on all the same."""
    await redis.set(keys.outlook(POOL), b"\x93")

    assert await queues.outlook(POOL) is None


async def test_matchmakers_know_who_stands_for_which_pool(queues: RedisQueues) -> None:
    """Until they leave."""
    assert await queues.enrol("one", ["arts", "book club"], ttl_ms=TTL_MS) == {
        "arts": {"one"},
        "book club": {"one"},
    }
    assert await queues.enrol("two", ["arts"], ttl_ms=TTL_MS) == {
        "arts": {"one", "two"},
        "book club": {"one"},
    }
    assert await queues.enrol("one", ["arts", "book club"], ttl_ms=0) == {"arts": {"two"}}


async def test_a_matchmaker_that_says_nothing_is_forgotten(queues: RedisQueues) -> None:
    """As when it is frozen, or its machine is gone; or for one pool, when its worker hangs."""
    await queues.enrol("one", ["arts", "books"], ttl_ms=40)
    await queues.enrol("two", ["arts"], ttl_ms=TTL_MS)
    await asyncio.sleep(0.02)
    await queues.enrol("one", ["arts"], ttl_ms=TTL_MS)
    await asyncio.sleep(0.05)

    assert await queues.enrol("two", ["arts"], ttl_ms=TTL_MS) == {"arts": {"one", "two"}}


async def test_one_may_look_whether_a_pool_is_owned(queues: RedisQueues) -> None:
    """Without taking it."""
    assert await queues.owned_for(POOL) == 0
    token = (await owner(queues)).token
    assert 0 < await queues.owned_for(POOL) <= TTL_MS

    await queues.drop_lease(POOL, token)
    assert await queues.owned_for(POOL) == 0
