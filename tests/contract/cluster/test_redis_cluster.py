"""What adapters may rely on about the client of a cluster; the adapters' own suites run on a cluster as well."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ClusterCrossSlotError, DataError, ResponseError

from storage.redis.client import connect
from storage.redis.cluster import ClusterRedis
from storage.redis.shards import one_key_each
from storage.redis.slots import Address, key_slot
from tests.fixtures.cluster import Cluster, ClusterNode
from tests.fixtures.waiting import until

NAMES = [f"name {number}" for number in range(60)]


@pytest.fixture
async def redis(cluster_url: str) -> AsyncIterator[ClusterRedis]:
    client = connect(cluster_url, cluster=True)
    assert isinstance(client, ClusterRedis)
    yield client
    await client.aclose()


async def test_each_key_is_where_its_slot_is(redis: ClusterRedis, valkey_cluster: Cluster) -> None:
    """Written by the client, found by asking the very node that serves the slot."""
    await asyncio.gather(*(redis.set(name, name) for name in NAMES))

    for name in NAMES:
        node = await valkey_cluster.primary_of(name)
        assert await valkey_cluster.ask(node, "GET", name) == name.encode()


async def test_replies_have_the_shapes_of_a_single_servers(redis: ClusterRedis, redis_url: str) -> None:
    """An adapter need not know where it runs."""
    answers = []
    plain = connect(redis_url)
    for client in (plain, redis):
        await client.hset("hash", mapping={"a": 1, "b": 2})
        await client.zadd("sorted", {"m": 1.5})
        await client.xadd("stream", {"f": "v"}, id="1-1")
        answers.append(
            [
                await client.hgetall("hash"),
                await client.zrange("sorted", 0, -1, withscores=True),
                await client.xread({"stream": "0"}),
                await client.xread({"stream": "0"}, block=10),
                await client.get("nothing"),
                await client.set("hash", 1, nx=True),
                await client.smismember("set", ["a", "b"]),
                isinstance(await client.time(), tuple),
                await client.ping(),
            ]
        )
    await plain.aclose()

    assert answers[0] == answers[1]


async def test_a_script_that_a_primary_does_not_know_is_given_to_it(
    redis: ClusterRedis, valkey_cluster: Cluster
) -> None:
    """On each primary, also after it forgot it."""
    script = redis.register_script("return {KEYS[1], ARGV[1]}")
    first = [await script(keys=[name], args=["a"]) for name in NAMES]
    for node in await valkey_cluster.primaries():
        await valkey_cluster.ask(node, "SCRIPT", "FLUSH")
    again = await asyncio.gather(*(script(keys=[name], args=["b"]) for name in NAMES))

    assert first == [[name.encode(), b"a"] for name in NAMES]
    assert again == [[name.encode(), b"b"] for name in NAMES]


async def test_keys_of_several_slots_in_one_script_are_refused(redis: ClusterRedis) -> None:
    """By the server: nothing is done, and nobody tries again."""
    script = redis.register_script("return redis.call('DEL', KEYS[1], KEYS[2])")

    with pytest.raises(ClusterCrossSlotError):
        await script(keys=["a", "b"])


async def test_an_error_is_the_one_commands_own(redis: ClusterRedis) -> None:
    """Those beside it are answered."""
    await redis.set("word", "no list")
    wrong, right = await asyncio.gather(redis.lpush("word", 1), redis.get("word"), return_exceptions=True)

    assert isinstance(wrong, ResponseError)
    assert right == b"no list"


async def test_a_pipeline_over_all_primaries_answers_in_order(redis: ClusterRedis) -> None:
    """As on one server, scripts and shaped replies included."""
    script = redis.register_script("return #KEYS[1]")
    async with redis.pipeline(transaction=False) as pipe:
        for name in NAMES:
            pipe.set(name, name)
            pipe.get(name)
            await script(keys=[name], client=pipe)
            pipe.hgetall(f"{name} hash")
        answers = await pipe.execute()

    assert answers == [answer for name in NAMES for answer in (True, name.encode(), len(name), {})]


async def test_a_pipeline_leaves_with_one_write_for_each_primary(
    redis: ClusterRedis, valkey_cluster: Cluster
) -> None:
    """Not one for each command: a primary reads it at once, over the shared connection."""
    await redis.ping()
    reads_before = await _reads(valkey_cluster)
    pipe = redis.pipeline(transaction=False)
    for number in range(1_500):
        pipe.get(f"name {number}")
    await pipe.execute()
    reads = [after - before for before, after in zip(reads_before, await _reads(valkey_cluster), strict=True)]

    # Some 500 commands each. A few reads are our own looking: connections, greetings, INFO.
    assert all(read < 100 for read in reads)


async def test_a_transaction_of_one_slot_is_one(redis: ClusterRedis) -> None:
    """All of it or nothing; one over several slots is refused before anything is sent."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set("{a}one", 1)
        pipe.incr("{a}one")
        done = await pipe.execute()
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set("one", 1)
        pipe.set("two", 2)
        with pytest.raises(DataError):
            await pipe.execute()

    assert done == [True, 2]
    assert await redis.get("two") is None


async def test_waiting_for_replicas_is_about_what_went_before(redis: ClusterRedis) -> None:
    """WAIT goes where the write went, over the same connection."""
    script = redis.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
    async with redis.pipeline(transaction=False) as pipe:
        await script(keys=["a"], args=[1], client=pipe)
        pipe.wait(1, 5_000)
        _, replicas = await pipe.execute()

    assert replicas == 1


async def is_read_at(cluster: Cluster, primary: ClusterNode) -> bool:
    """Whether somebody waits there for an entry."""
    return b"cmd=xread " in await cluster.ask(primary, "CLIENT", "LIST", "TYPE", "normal")


async def test_a_blocking_read_delays_nobody(redis: ClusterRedis, valkey_cluster: Cluster) -> None:
    """It has a connection of its own at its primary, and hears what is added."""
    reading = asyncio.create_task(redis.xread({"{a}stream": "$"}, block=60_000))
    primary = await valkey_cluster.primary_of("{a}stream")
    await until(lambda: is_read_at(valkey_cluster, primary))
    async with asyncio.timeout(30):
        await redis.set("{a}key", "v")
        await redis.xadd("{a}stream", {"f": "v"})
        heard = await reading

    assert heard


async def test_commands_of_a_turn_share_a_connection(redis: ClusterRedis, valkey_cluster: Cluster) -> None:
    """One for each primary, however many ask at once."""
    await asyncio.gather(*(redis.get(name) for name in NAMES * 5))

    async def share_one() -> bool:
        connected = [
            (await valkey_cluster.ask(node, "CLIENT", "LIST", "TYPE", "normal")).count(b"\n")
            for node in await valkey_cluster.primaries()
        ]
        # The test's own connection is the second, the fixture's that empties the cluster the third; those of the test
        # before may not have been seen to be closed yet.
        return all(count <= 3 for count in connected)

    await until(share_one)


@pytest.mark.parametrize("command", ["flushdb", "dbsize", "keys"])
async def test_what_concerns_every_primary_is_refused(redis: ClusterRedis, command: str) -> None:
    """Better no answer than a third of one."""
    with pytest.raises(DataError):
        await getattr(redis, command)()


async def test_a_slot_that_is_being_moved_is_served_all_along(
    redis: ClusterRedis, valkey_cluster: Cluster
) -> None:
    """ASK, TRYAGAIN and MOVED are followed: keys that are there, keys that moved on, and both in one command."""
    keys = [f"{{moving}}{number}" for number in range(6)]
    slot = key_slot(keys[0])
    source = await valkey_cluster.primary_of(slot)
    target = next(node for node in await valkey_cluster.primaries() if node is not source)
    for key in keys:
        await redis.set(key, key)
    try:
        await valkey_cluster.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        await valkey_cluster.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)
        address = ("127.0.0.1", target.port, "", 0, 5_000, "AUTH", target.password, "KEYS")
        await valkey_cluster.ask(source, "MIGRATE", *address, *keys[:3])
        half_way = [await redis.get(key) for key in keys]
        both = asyncio.create_task(redis.mget(keys))
        await asyncio.sleep(0.2)
        was_waiting = not both.done()
        await valkey_cluster.ask(source, "MIGRATE", *address, *keys[3:])
        for node in (target, source):
            await valkey_cluster.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        values = await both
        afterwards = [await redis.get(key) for key in keys]
    finally:
        await _back(valkey_cluster, slot, source, target, keys)

    expected = [key.encode() for key in keys]
    assert half_way == expected
    assert was_waiting
    assert values == expected
    assert afterwards == expected


async def test_the_map_is_learnt_anew_where_it_is_wrong(redis: ClusterRedis, valkey_cluster: Cluster) -> None:
    """One MOVED teaches everything, and whoever asked to hears of it."""
    slot = key_slot("elsewhere")
    source = await valkey_cluster.primary_of(slot)
    target = next(node for node in await valkey_cluster.primaries() if node is not source)
    await redis.get("elsewhere")
    changed = asyncio.Event()
    redis.topology.on_change(changed.set)
    try:
        for node in await valkey_cluster.primaries():
            await valkey_cluster.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        await redis.set("elsewhere", "v")
        async with asyncio.timeout(10):
            await changed.wait()
        found = redis.topology.primary_of("elsewhere")
    finally:
        await _back(valkey_cluster, slot, source, target, ["elsewhere"])

    assert found == Address("127.0.0.1", target.port)


async def test_one_key_of_each_primary(redis: ClusterRedis, redis_url: str) -> None:
    """Enough of them to ask everybody, and no more; on one server that is one."""
    keys = [f"{{k:{number}}}:epoch" for number in range(256)]
    plain = connect(redis_url)
    on_one_server = await one_key_each(plain, keys)
    found = await one_key_each(redis, keys)
    await plain.aclose()

    assert on_one_server == keys[:1]
    assert found[0] == keys[0]
    assert sorted(redis.topology.primary_of(key) or Address("", 0) for key in found) == sorted(
        redis.topology.map.primaries
    )


async def _reads(cluster: Cluster) -> list[int]:
    stats = [await cluster.ask(node, "INFO", "stats") for node in await cluster.primaries()]
    return [int(stat.split(b"total_reads_processed:")[1].split()[0]) for stat in stats]


async def _back(cluster: Cluster, slot: int, source: object, target: object, keys: list[str]) -> None:
    """Leaves the cluster as it was: others live there."""
    for node in await cluster.primaries():
        if node is target:
            await cluster.ask(node, "DEL", *keys)
    for node in cluster.nodes:
        if node is source or node is target:
            await cluster.ask(node, "CLUSTER", "SETSLOT", slot, "STABLE")
    for node in await cluster.primaries():
        await cluster.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", source.node_id)  # type: ignore[attr-defined]  # the cluster has formed
    await cluster.whole()
