"""What must not be forgotten by a failover is written to a replica too before anybody is told, where there is one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from minuet.embedded import EmbeddedValkey
from signaling.call.record import Call
from signaling.call.states import State
from signaling.ports import StoredCall
from storage.redis import replicas
from storage.redis.calls import RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.contract.calls.call_records import moved, proposed

KEYS = Keys("test:")


class Watched(RedisCallStore):
    """The store, which notes what was not confirmed."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, KEYS)
        self.missed = 0
        self.unconfirmed = self._miss

    def _miss(self) -> None:
        self.missed += 1

    async def created(self) -> StoredCall:
        call = proposed()
        stored = await self.create(call, claimed_at_ms=call.created_at)
        assert stored is not None
        return stored

    async def commits(self, before: StoredCall, state: State, *, confirm: bool = True) -> StoredCall:
        stored = await self.commit(before, moved(before.call, state), confirm=confirm)
        assert stored is not None
        return stored


@pytest.fixture
async def redis(private_valkey: EmbeddedValkey) -> AsyncIterator[Redis]:
    client = connect(private_valkey.url)
    yield client
    await client.aclose()


@pytest.fixture
async def replica(
    private_valkey: EmbeddedValkey, redis: Redis, tmp_path: Path
) -> AsyncIterator[EmbeddedValkey]:
    """A second server that follows the first one."""
    primary = urlsplit(private_valkey.url)
    async with EmbeddedValkey(tmp_path / "replica", durable=False) as server:
        async with connect(server.url) as client:
            await client.config_set("masterauth", str(primary.password))
            await client.execute_command("REPLICAOF", primary.hostname, primary.port)
            async with asyncio.timeout(30):
                while (await client.info("replication"))["master_link_status"] != "up":
                    await asyncio.sleep(0.05)
                while not (await redis.info("replication"))["connected_slaves"]:
                    await asyncio.sleep(0.05)
        yield server


async def version_there(server: EmbeddedValkey, call: Call) -> int:
    async with connect(server.url) as client:
        return int((await client.hget(KEYS.call(call.call_id), "version")) or 0)


async def asked(redis: Redis) -> dict[str, int]:
    """How often the server was asked what."""
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


async def test_what_is_confirmed_is_on_the_replica(redis: Redis, replica: EmbeddedValkey) -> None:
    """Fifty times in a row: the moment the commit returns, the replica has it, or the store was told that nobody knows."""
    store = Watched(redis)
    stored = await store.created()

    for state in [State.CONNECTING, State.LIVE] * 25:
        missed = store.missed
        stored = await store.commits(stored, state)
        # A tenth of a second is waited for it, in which a busy machine may do something else.
        if store.missed == missed:
            assert await version_there(replica, stored.call) == stored.call.version
    assert store.missed < 25
    assert (await asked(redis))["wait"] in (50, 51)  # once more where the script was not there yet


async def test_a_replica_that_hangs_delays_by_a_tenth_of_a_second_and_refuses_nothing(
    redis: Redis, replica: EmbeddedValkey
) -> None:
    """The commit stands, somebody counts it, and the next one is asked for again."""
    store = Watched(redis)
    stored = await store.commits(await store.created(), State.CONNECTING)
    replica.pause()
    loop = asyncio.get_running_loop()
    started = loop.time()
    stored = await store.commits(stored, State.LIVE)
    took_s = loop.time() - started
    missed = store.missed
    replica.resume()
    stored = await store.commits(stored, State.RECONNECTING)

    assert took_s >= 0.1
    assert missed == 1
    assert await store.load(stored.call.call_id) == stored


async def test_a_server_without_replicas_is_not_made_to_wait(redis: Redis) -> None:
    """It is asked once in a while whether it has any, and each commit is one command."""
    store = Watched(redis)
    stored = await store.created()
    await redis.config_resetstat()
    for state in [State.CONNECTING, State.LIVE] * 5:
        stored = await store.commits(stored, state)
    commands = await asked(redis)

    assert store.missed == 0
    assert "wait" not in commands
    assert commands["evalsha"] <= 11  # one more where the script was not there yet
    assert commands["info"] == 1


async def test_a_replica_that_joins_is_found(
    redis: Redis, replica: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server has is looked at again and again."""
    store = Watched(redis)
    store._replicas._seen[None] = (0.0, False)
    stored = await store.commits(await store.created(), State.CONNECTING)
    monkeypatch.setattr(replicas, "LOOK_EVERY_S", 0.0)
    await store.commits(stored, State.LIVE)

    assert (await asked(redis))["wait"] >= 1


async def test_a_lost_script_is_loaded_again(redis: Redis, replica: EmbeddedValkey) -> None:
    """A server that has forgotten it gets it, and the commit is done once."""
    store = Watched(redis)
    stored = await store.created()
    await redis.script_flush()

    stored = await store.commits(stored, State.CONNECTING)

    assert await store.load(stored.call.call_id) == stored
    assert store.missed or await version_there(replica, stored.call) == 2


async def test_what_is_not_to_be_confirmed_waits_for_nobody(redis: Redis, replica: EmbeddedValkey) -> None:
    """Only ends and revocations are worth the round trip."""
    store = Watched(redis)
    stored = await store.created()
    for state in [State.CONNECTING, State.LIVE]:
        stored = await store.commits(stored, state, confirm=False)

    assert "wait" not in await asked(redis)


async def test_in_a_cluster_each_primary_waits_for_its_own_replicas(cluster_url: str) -> None:
    """Commits go to the primary of the call's slot, confirmed or not."""
    redis = connect(cluster_url, cluster=True)
    store = Watched(redis)
    for _ in range(6):
        stored = await store.commits(await store.created(), State.CONNECTING)
        stored = await store.commits(stored, State.LIVE)
        assert await store.load(stored.call.call_id) == stored
    await redis.aclose()

    assert store.missed < 6


async def test_many_at_once_ask_for_replicas_once(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is time to look again, one of those who end a call at that moment does."""
    known, script = replicas.Replicas(redis), redis.register_script("return 1")
    await known.run(script, ["key"], [])

    async def looks() -> int:
        return int((await redis.info("commandstats"))["cmdstat_info"]["calls"])

    await looks()
    before = await looks()
    monkeypatch.setattr(replicas, "LOOK_EVERY_S", 0.5)
    await asyncio.sleep(0.6)
    await asyncio.gather(*(known.run(script, ["key"], []) for _ in range(20)))

    # One look, and this one's own.
    assert await looks() - before == 2
