"""Who is there, and whom a block keeps apart, as Redis has it."""

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.nodes import Incarnation, NodeStats
from presence.sessions import Registration
from storage.redis.acquaintances import AT_ONCE, RedisAcquaintances
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from storage.redis.safety import RedisSafetyLog

NODE = NodeId("node-1")


@pytest.fixture
def nodes(redis: Redis, keys: Keys) -> RedisNodes:
    return RedisNodes(redis, keys)


@pytest.fixture
def look(redis: Redis, keys: Keys, nodes: RedisNodes) -> RedisAcquaintances:
    return RedisAcquaintances(redis, keys, nodes)


def registration(user_id: str, node_id: NodeId = NODE) -> Registration:
    return Registration(UserId(user_id), DeviceId("phone"), SessionId(f"s-{user_id}"), node_id, 1)


async def test_who_has_a_session_on_a_living_node_is_online(
    look: RedisAcquaintances, nodes: RedisNodes, redis: Redis, keys: Keys
) -> None:
    """Not whose node is dead, nor who never came; the answer does not depend on how many are asked for."""
    sessions = RedisSessions(redis, keys)
    await nodes.acquire(Incarnation(NODE, "hub", 1), NodeStats())
    registered = await sessions.register(registration("here"), max_devices=3)
    await sessions.register(registration("stranded", NodeId("dead")), max_devices=3)
    await redis.hset(keys.user("busy"), "activity", "call:1")
    crowd = [UserId(f"nobody-{n}") for n in range(AT_ONCE + 5)]

    assert await look.online([UserId("here"), UserId("stranded"), UserId("busy"), *crowd]) == {"here"}
    assert await look.online([]) == set()
    await sessions.unregister(registration("here"), registered.generation)  # type: ignore[union-attr]  # nobody has too many devices
    assert await look.online([UserId("here")]) == set()


async def test_pairs_that_a_block_keeps_apart_are_found(
    look: RedisAcquaintances, redis: Redis, keys: Keys
) -> None:
    """From both sides, until it is taken back."""
    log = RedisSafetyLog(redis, keys)
    ada, bob, eve = UserId("ada"), UserId("bob"), UserId("eve")
    await log.renew(ada, bob)
    asked = {ada: [bob, eve], bob: [ada], eve: []}

    assert await look.apart(asked) == {(ada, bob), (bob, ada)}
    await log.forget(bob, ada)
    assert await look.apart(asked) == set()
    assert await look.apart({}) == set()


async def test_an_absent_store_is_unavailable(keys: Keys) -> None:
    """Not "nobody is there"."""
    redis = connect("redis://127.0.0.1:1", timeout_s=0.3)
    look = RedisAcquaintances(redis, keys, RedisNodes(redis, keys))

    with pytest.raises(Unavailable):
        await look.online([UserId("ada")])
    with pytest.raises(Unavailable):
        await look.apart({UserId("ada"): [UserId("bob")]})
    await redis.aclose()
