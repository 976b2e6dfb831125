"""A call whose record nobody here can read must not end the work on all the others."""

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from matchmaker.ports import CallOutcome, CallStage
from storage.redis.calls import RedisCallStore
from storage.redis.keys import Keys
from tests.contract.calls.call_records import proposed

KEYS = Keys("test:")


async def unreadable(store: RedisCallStore, redis: Redis, state: str) -> str:
    call = proposed()
    await store.create(call, claimed_at_ms=call.created_at)
    await redis.hset(KEYS.call(call.call_id), mapping={"state": state, "payload": b"\xc1"})
    return call.call_id


async def test_the_matchmaker_lets_the_people_of_an_unreadable_call_go_when_it_is_over(
    each_redis: Redis,
) -> None:
    """Its state is told beside the record; who goes back to the queue is not, so nobody does against their will."""
    store = RedisCallStore(each_redis, KEYS)
    call_id = await unreadable(store, each_redis, "ended")

    assert await store.stage(call_id) == CallOutcome(CallStage.ENDED)


async def test_the_matchmaker_is_not_told_of_a_state_that_only_another_release_knows(
    each_redis: Redis,
) -> None:
    """As if the call were away: it looks again, and goes on with the others."""
    store = RedisCallStore(each_redis, KEYS)
    call_id = await unreadable(store, each_redis, "humming")

    with pytest.raises(Unavailable):
        await store.stage(call_id)
