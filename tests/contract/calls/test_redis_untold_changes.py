"""What hubs and workers may rely on about changes that a node has not acknowledged. All of it on the real server."""

import asyncio

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import NodeId
from signaling.call.record import Call
from signaling.call.states import State
from signaling.ports import StoredCall, Untold
from storage.redis.calls import RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import Keys, call_partition
from tests.contract.calls.call_records import in_partition, moved, proposed, server_ms
from tests.contract.calls.lossy_proxy import lossy_proxy

KEYS = Keys("test:")


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    return one_redis


@pytest.fixture
def store(redis: Redis) -> RedisCallStore:
    return RedisCallStore(redis, KEYS)


def change(call: Call, at: int, node: str = "node-2") -> Untold:
    return Untold(call.call_id, call.version, at, NodeId(node))


async def committed(
    store: RedisCallStore, at: int, *nodes: str, partition: int = 7
) -> tuple[StoredCall, list[Untold]]:
    """A call whose second version these nodes have to hear of."""
    call = proposed(call_id=in_partition(partition))
    before = await store.create(call, claimed_at_ms=call.created_at)
    assert before is not None
    after = moved(call, State.CONNECTING)
    untold = [change(after, at, node) for node in nodes]
    stored = await store.commit(before, after, untold=untold)
    assert stored is not None
    return stored, untold


async def aged(redis: Redis, change: Untold, by_ms: int) -> None:
    """Lets a change have been due for so long."""
    key = KEYS.calls_untold(call_partition(change.call_id))
    member = f"{change.call_id} {change.version} {change.at} {change.node_id}"
    assert await redis.zadd(key, {member: await server_ms(redis) - by_ms}, xx=True, ch=True)


async def test_a_change_is_told_again_after_a_second_and_not_before(
    store: RedisCallStore, redis: Redis
) -> None:
    """Until then its first message, and what acknowledges it, are on their way."""
    at = await server_ms(redis)
    _, [untold] = await committed(store, at, "node-2")

    assert await store.untold(limit=10) == []
    while not (found := await store.untold(limit=10)):
        await asyncio.sleep(0.05)

    assert found == [untold]
    assert await server_ms(redis) - at >= 1_000


async def test_what_was_taken_is_left_alone_for_ever_longer(store: RedisCallStore, redis: Redis) -> None:
    """Another worker that looks does not tell it too; a change that is two seconds old waits as long again."""
    at = await server_ms(redis) - 2_000
    _, [untold] = await committed(store, at, "node-2")
    await aged(redis, untold, 1)

    assert await store.untold(limit=10) == [untold]
    assert await store.untold(limit=10) == []
    due_at = await redis.zscore(
        KEYS.calls_untold(7), f"{untold.call_id} {untold.version} {untold.at} {untold.node_id}"
    )
    assert due_at is not None
    assert 0 < due_at - await server_ms(redis) <= 3_000


async def test_what_was_told_is_off_the_list(store: RedisCallStore, redis: Redis) -> None:
    """One node's acknowledgement says nothing of the other's."""
    _, untold = await committed(store, await server_ms(redis), "node-2", "node-3")
    _, others = await committed(store, await server_ms(redis), "node-2", partition=200)
    for one in untold + others:
        await aged(redis, one, 5)

    await store.told([untold[0], *others])

    assert await store.untold(limit=10) == [untold[1]]


async def test_the_longest_waiting_come_first_over_all_partitions(
    store: RedisCallStore, redis: Redis
) -> None:
    """A sweep with much to do begins where patience was longest."""
    at, waited = await server_ms(redis), {}
    for number, by_ms in enumerate((50, 400, 900)):
        _, [waited[by_ms]] = await committed(store, at, "node-2", partition=number * 100)
        await aged(redis, waited[by_ms], by_ms)

    assert await store.untold(limit=2) == [waited[900], waited[400]]
    assert await store.untold(limit=2) == [waited[50]]


async def test_a_change_that_nobody_has_to_hear_of_stands_nowhere(
    store: RedisCallStore, redis: Redis
) -> None:
    """Two people of one node: the list is not even made."""
    await committed(store, 0)

    assert await redis.exists(KEYS.calls_untold(7)) == 0


async def test_a_commit_that_loses_its_race_leaves_nothing_to_tell(
    store: RedisCallStore, redis: Redis
) -> None:
    """What did not happen must not be told."""
    stored, untold = await committed(store, await server_ms(redis), "node-2")
    await store.told(untold)
    stale = StoredCall(stored.call, "0" * 16)

    after = moved(stored.call, State.LIVE)
    assert await store.commit(stale, after, untold=[change(after, 1)]) is None
    assert await redis.zcard(KEYS.calls_untold(7)) == 0


async def test_a_commit_whose_answer_was_lost_is_to_be_told_once(redis_url: str, redis: Redis) -> None:
    """It is sent twice and done once, and whoever sent it can take it off the list."""
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        store = RedisCallStore(client, KEYS)
        call = proposed(call_id=in_partition(7))
        before = await store.create(call, claimed_at_ms=call.created_at)
        assert before is not None
        after = moved(call, State.CONNECTING)
        untold = change(after, await server_ms(redis))
        await store.commit(StoredCall(call, "not this one"), after)  # the script is loaded
        proxy.lose_next = True
        assert await store.commit(before, after, untold=[untold]) is not None

        assert proxy.lost == 1
        assert await redis.zcard(KEYS.calls_untold(7)) == 1
        await store.told([untold])
        assert await redis.zcard(KEYS.calls_untold(7)) == 0
        await client.aclose()


async def test_the_list_is_bounded_in_number_and_time(store: RedisCallStore, redis: Redis) -> None:
    """Should nobody sweep: the oldest go, and in the end the list itself."""
    key = KEYS.calls_untold(7)
    now = await server_ms(redis)
    await redis.zadd(key, {f"old {n}": now - 400_000 for n in range(50)})
    await redis.zadd(key, {f"call {n} 1 node": now + n for n in range(10_000)})

    _, [untold] = await committed(store, now, "node-2")

    members = await redis.zrange(key, 0, -1)
    assert len(members) == 10_000
    assert not any(member.startswith(b"old") for member in members)
    assert b"call 0 1 node" not in members
    assert f"{untold.call_id} {untold.version} {untold.at} {untold.node_id}".encode() in members
    assert 0 < await redis.pttl(key) <= 600_000


async def test_what_only_a_newer_release_can_read_is_left_to_it(store: RedisCallStore, redis: Redis) -> None:
    """It holds up nobody else's."""
    await redis.zadd(KEYS.calls_untold(7), {"of another form": 1, "a b c d": 1})
    _, [untold] = await committed(store, await server_ms(redis), "node-2")
    await aged(redis, untold, 5)

    assert await store.untold(limit=10) == [untold]


async def test_a_list_that_is_out_of_reach_is_unavailable() -> None:
    """One refusal, whatever went wrong underneath."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    store = RedisCallStore(redis, KEYS)
    answers = await asyncio.gather(
        store.told([change(proposed(), 1)]), store.untold(limit=1), return_exceptions=True
    )
    await redis.aclose()

    assert [type(answer) for answer in answers] == [Unavailable] * 2
