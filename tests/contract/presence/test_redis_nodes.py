"""Leases of node incarnations in Redis, and clearing up after dead ones."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.metrics import PresenceMetrics
from presence.nodes import LEASE_TTL_MS, Incarnation, NodeInfo, NodeStats, UserState
from presence.reaper import BATCH, Reaper
from presence.sessions import Registered, Registration
from storage.redis.client import connect
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions

LoseLease = Callable[[Incarnation], Awaitable[None]]
MakeNode = Callable[..., Incarnation]
MakeRegistration = Callable[..., Registration]
STATS = NodeStats(users={UserState.IDLE: 3, UserState.IN_CALL: 2}, calls={"live": 1})


class Told:
    """Whom the reaper told of lost sessions."""

    def __init__(self) -> None:
        self.sessions: list[tuple[UserId, DeviceId, SessionId]] = []
        self.fails_with: Exception | None = None

    async def __call__(self, user_id: UserId, device_id: DeviceId, session_id: SessionId) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.sessions.append((user_id, device_id, session_id))


class Away:
    """The store of dead nodes, away at first."""

    def __init__(self, nodes: RedisNodes) -> None:
        self._nodes = nodes
        self.is_away = True
        self.refused = 0

    async def dead(self) -> list[NodeId]:
        if self.is_away:
            self.refused += 1
            raise Unavailable
        return await self._nodes.dead()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodes, name)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def reaper(nodes: RedisNodes, told: Told) -> Reaper:
    return Reaper(nodes, told, PresenceMetrics(CollectorRegistry()))


@pytest.fixture
def lose_lease(redis: Redis, keys: Keys) -> LoseLease:
    """Has a node's lease end as if its time were over, the list of nodes showing an old renewal."""

    async def lose(node: Incarnation) -> None:
        await redis.delete(keys.node_lease(node.node_id))
        score = await redis.zscore(keys.nodes(), node.node_id)
        if score is not None:
            await redis.zadd(keys.nodes(), {node.node_id: score - LEASE_TTL_MS})

    return lose


async def test_a_node_with_a_lease_lives_and_is_described(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis
) -> None:
    """Role, start, last renewal and its own counts, as it gave them."""
    hub, worker = incarnation("serve", 1_000), incarnation("worker", 2_000)
    renewal = await nodes.acquire(hub, STATS)
    await nodes.acquire(worker, NodeStats())
    first, second = await nodes.nodes()
    seconds, micros = await redis.time()

    assert renewal.held
    assert abs(renewal.store_ms - (seconds * 1000 + micros // 1000)) < 1_000
    assert await nodes.living() == {hub.node_id, worker.node_id}
    assert first == NodeInfo(hub.node_id, "serve", 1_000, first.renewed_at, STATS)
    assert second == NodeInfo(worker.node_id, "worker", 2_000, second.renewed_at, NodeStats())
    assert abs(first.renewed_at - renewal.store_ms) < 1_000


async def test_renewing_replaces_the_counts(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """What a node no longer counts is gone: numbers cannot pile up."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await nodes.renew(hub, NodeStats(users={UserState.QUEUED: 7}))
    (described,) = await nodes.nodes()

    assert described.stats == NodeStats(users={UserState.QUEUED: 7})


async def test_counts_that_this_release_does_not_know_are_passed_over(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """A node of a newer release counts more; the older one still reads what it knows."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await redis.hset(keys.node_stats(hub.node_id), mapping={"users:dreaming": 1, "moons": 2})
    (described,) = await nodes.nodes()

    assert described.stats == STATS


async def test_a_lease_ends_by_itself(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """The store gives it and the counts at most four seconds; nobody has to notice."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert 0 < await redis.pttl(keys.node_lease(hub.node_id)) <= LEASE_TTL_MS
    assert 0 < await redis.pttl(keys.node_stats(hub.node_id)) <= LEASE_TTL_MS


async def test_a_lease_that_ended_cannot_be_renewed(
    nodes: RedisNodes, incarnation: MakeNode, lose_lease: LoseLease
) -> None:
    """Others may have acted on its death: the incarnation stays dead, whatever it says."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await lose_lease(hub)
    renewal = await nodes.renew(hub, STATS)

    assert not renewal.held
    assert renewal.store_ms > 0
    assert await nodes.living() == set()
    assert await nodes.nodes() == []


async def test_acquiring_again_after_a_lost_answer_is_held(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """An id belongs to one incarnation, so its lease can only be its own."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert (await nodes.acquire(hub, STATS)).held


async def test_a_late_renewal_in_the_list_does_not_kill_a_node_with_a_lease(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """The lease is the truth, the list only says where to look."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await redis.zincrby(keys.nodes(), -60_000, hub.node_id)

    assert await nodes.living() == {hub.node_id}
    assert await nodes.dead() == []


async def test_each_renewal_sends_the_inbox_a_canary(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys
) -> None:
    """It carries the store's time in microseconds, so that its lag is known where it arrives."""
    hub, server, subscribe = incarnation(), redis, "SUBSCRIBE"
    channel = keys.node_inbox(hub.node_id)
    if isinstance(redis, ClusterRedis):
        await redis.topology.refresh()
        primary = redis.topology.primary_of(channel)
        assert primary is not None
        server, subscribe = redis.node(primary), "SSUBSCRIBE"
    async with server.pubsub() as inbox:
        await inbox.execute_command(subscribe, channel)
        await inbox.parse_response(timeout=1)
        acquired = await nodes.acquire(hub, STATS)
        renewed = await nodes.renew(hub, STATS)
        canaries = [(await inbox.parse_response(timeout=1))[2] for _ in range(2)]

    assert [canary[:1] for canary in canaries] == [b"~", b"~"]
    assert [int(canary[1:]) // 1000 for canary in canaries] == [acquired.store_ms, renewed.store_ms]


async def test_a_released_node_is_gone_at_once(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis
) -> None:
    """A clean end leaves nothing behind."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    await nodes.release(hub.node_id)

    assert await nodes.living() == set()
    assert await redis.keys("test:*") == []


async def test_a_released_node_with_sessions_is_left_to_the_reaper(
    nodes: RedisNodes,
    sessions: RedisSessions,
    incarnation: MakeNode,
    registration: MakeRegistration,
    reaper: Reaper,
    told: Told,
    redis: Redis,
) -> None:
    """Whoever did not come back to another node during the drain is lost like with a crash."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)
    phone = registration(node=hub.node_id)
    await sessions.register(phone, max_devices=3)
    await nodes.release(hub.node_id)
    living = await nodes.living()
    await reaper.reap_all()

    assert living == set()
    assert told.sessions == [(phone.user_id, phone.device_id, phone.session_id)]
    assert await redis.keys("test:*") == []


async def test_the_reaper_removes_the_rows_of_a_dead_node_and_tells_of_each(
    nodes: RedisNodes,
    sessions: RedisSessions,
    incarnation: MakeNode,
    registration: MakeRegistration,
    reaper: Reaper,
    told: Told,
    redis: Redis,
    lose_lease: LoseLease,
) -> None:
    """Afterwards nothing of the dead node is left; the living one is untouched."""
    dead, living = incarnation(), incarnation()
    await nodes.acquire(dead, STATS)
    await nodes.acquire(living, STATS)
    lost, kept = registration(node=dead.node_id), registration(node=living.node_id)
    await sessions.register(lost, max_devices=3)
    await sessions.register(kept, max_devices=3)
    await lose_lease(dead)
    count = await reaper.reap_all()

    assert count == 1
    assert told.sessions == [(lost.user_id, lost.device_id, lost.session_id)]
    assert [row.session_id for row in await sessions.sessions(lost.user_id)] == [kept.session_id]
    assert await nodes.living() == {living.node_id}
    assert not [key for key in await redis.keys("test:*") if dead.node_id.encode() in key]
    assert await nodes.dead() == []


async def test_the_reaper_leaves_a_device_alone_that_came_back(
    nodes: RedisNodes,
    sessions: RedisSessions,
    incarnation: MakeNode,
    registration: MakeRegistration,
    reaper: Reaper,
    told: Told,
    lose_lease: LoseLease,
) -> None:
    """Its row names another incarnation: the old session is no loss, nobody is told."""
    dead, living = incarnation(), incarnation()
    await nodes.acquire(dead, STATS)
    await nodes.acquire(living, STATS)
    old = registration(node=dead.node_id)
    before = await sessions.register(old, max_devices=3)
    assert isinstance(before, Registered)
    await sessions.reassert(replace(old, node_id=living.node_id), before.generation)
    await lose_lease(dead)

    assert await reaper.reap_all() == 0
    assert told.sessions == []
    row = await sessions.where(old.user_id, old.device_id)
    assert row is not None
    assert row.node_id == living.node_id
    assert await nodes.dead() == []


async def test_a_session_whose_row_went_before_its_name_on_the_list_is_told_of(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys, reaper: Reaper, told: Told
) -> None:
    """Another reaper died between the two: telling twice is safe, not telling at all is not."""
    dead = incarnation()
    await redis.sadd(keys.node_sessions(dead.node_id), "u1 s1 phone")
    await redis.zadd(keys.nodes(), {dead.node_id: 1})
    await reaper.reap_all()

    assert told.sessions == [("u1", "phone", "s1")]
    assert await redis.keys("test:*") == []


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), Unavailable()])
async def test_a_loss_that_nobody_heard_of_is_told_again(
    nodes: RedisNodes,
    incarnation: MakeNode,
    redis: Redis,
    keys: Keys,
    reaper: Reaper,
    told: Told,
    failure: Exception,
) -> None:
    """Where telling fails the session stays on the list, and the next round tells of it."""
    dead = incarnation()
    await redis.sadd(keys.node_sessions(dead.node_id), "u1 s1 phone")
    await redis.zadd(keys.nodes(), {dead.node_id: 1})
    told.fails_with = failure
    try:
        await reaper.reap_all()
    except Unavailable:
        assert isinstance(failure, Unavailable)
    told.fails_with = None
    await reaper.reap_all()

    assert told.sessions == [("u1", "phone", "s1")]
    assert await redis.keys("test:*") == []


async def test_a_round_of_the_reaper_is_bounded(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys, reaper: Reaper, told: Told
) -> None:
    """A node with many sessions is cleared up over several rounds, and forgotten with the last."""
    dead = incarnation()
    many = BATCH + 50
    await redis.sadd(keys.node_sessions(dead.node_id), *(f"u{number} s{number} d" for number in range(many)))
    await redis.zadd(keys.nodes(), {dead.node_id: 1})

    assert await reaper.reap_all() == BATCH
    assert await nodes.dead() == [dead.node_id]
    assert await reaper.reap_all() == 50
    assert await nodes.dead() == []
    assert len(set(told.sessions)) == many


async def test_a_living_node_is_never_forgotten(nodes: RedisNodes, incarnation: MakeNode) -> None:
    """Even somebody who believes it dead cannot remove it."""
    hub = incarnation()
    await nodes.acquire(hub, STATS)

    assert not await nodes.forget(hub.node_id)
    assert await nodes.living() == {hub.node_id}


async def test_nobody_is_reaped_while_things_are_put_back(
    nodes: RedisNodes, redis: Redis, keys: Keys, told: Told
) -> None:
    """Nodes that lost their leases with everything else are about to take them again."""
    settled = asyncio.Event()

    async def until_settled() -> None:
        await settled.wait()

    reaper = Reaper(nodes, told, PresenceMetrics(CollectorRegistry()), until_settled)
    dead = NodeId("dead")
    await redis.sadd(keys.node_sessions(dead), "u1 s1 phone")
    await redis.zadd(keys.nodes(), {dead: 1})
    running = asyncio.create_task(reaper.run())
    await asyncio.sleep(0.2)
    before = list(told.sessions)
    settled.set()
    async with asyncio.timeout(10):
        while not told.sessions:
            await asyncio.sleep(0.02)
    running.cancel()

    assert before == []
    assert told.sessions == [("u1", "phone", "s1")]


async def test_after_an_outage_nodes_have_time_to_come_back(
    nodes: RedisNodes, incarnation: MakeNode, redis: Redis, keys: Keys, told: Told
) -> None:
    """The store was away for longer than every lease: whoever takes it again in time is not buried."""
    hub, gone = incarnation(), incarnation()
    for node in (hub, gone):
        await redis.sadd(keys.node_sessions(node.node_id), f"u s-{node.node_id} phone")
        await redis.zadd(keys.nodes(), {node.node_id: 1})
    store = Away(nodes)
    running = asyncio.create_task(Reaper(store, told, PresenceMetrics(CollectorRegistry())).run())
    async with asyncio.timeout(10):
        while not store.refused:
            await asyncio.sleep(0.01)
    store.is_away = False
    await nodes.acquire(hub, STATS)
    async with asyncio.timeout(20):
        while not told.sessions:
            await nodes.renew(hub, STATS)
            await asyncio.sleep(0.1)
    running.cancel()

    assert told.sessions == [("u", "phone", f"s-{gone.node_id}")]


async def test_without_a_store_everything_is_unavailable(keys: Keys, incarnation: MakeNode) -> None:
    """An outage reaches callers as the one error that they handle."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    nodes, hub = RedisNodes(redis, keys), incarnation()
    calls = [
        nodes.acquire(hub, STATS),
        nodes.renew(hub, STATS),
        nodes.release(hub.node_id),
        nodes.living(),
        nodes.nodes(),
        nodes.dead(),
        nodes.listed_sessions(NodeId("n"), limit=1),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    await redis.aclose()
