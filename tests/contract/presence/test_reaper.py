"""Clearing up after dead nodes: each lost session is told of, and nothing else is."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from structlog.testing import capture_logs

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.metrics import PresenceMetrics
from presence.nodes import Incarnation
from presence.reaper import BATCH, Reaper
from presence.sessions import Registered, Registration
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from tests.contract.presence.incarnations import STATS, LoseLease, MakeNode

MakeRegistration = Callable[..., Registration]


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
async def two_hubs(nodes: RedisNodes, incarnation: MakeNode) -> tuple[Incarnation, Incarnation]:
    """Both hold their leases."""
    one, other = incarnation(), incarnation()
    await nodes.acquire(one, STATS)
    await nodes.acquire(other, STATS)
    return one, other


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
    two_hubs: tuple[Incarnation, Incarnation],
    registration: MakeRegistration,
    reaper: Reaper,
    told: Told,
    redis: Redis,
    lose_lease: LoseLease,
) -> None:
    """Afterwards nothing of the dead node is left; the living one is untouched."""
    dead, living = two_hubs
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
    two_hubs: tuple[Incarnation, Incarnation],
    registration: MakeRegistration,
    reaper: Reaper,
    told: Told,
    lose_lease: LoseLease,
) -> None:
    """Its row names another incarnation: the old session is no loss, nobody is told."""
    dead, living = two_hubs
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


async def test_an_outage_is_said_once(nodes: RedisNodes, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wonders why nobody is cleared up after finds it in the log, and not a line a second."""
    monkeypatch.setattr("presence.reaper.EVERY_S", 0.01)
    store = Away(nodes)
    with capture_logs() as lines:
        running = asyncio.create_task(Reaper(store, told, PresenceMetrics(CollectorRegistry())).run())
        async with asyncio.timeout(10):
            while store.refused < 3:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])

    assert [line["event"] for line in lines] == ["reaper.waits"]
