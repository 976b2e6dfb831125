"""An owner that loses its lease, its store or what it had read, and one that is stopped."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from matchmaker.activity import Queued
from matchmaker.lobby import Standing
from matchmaker.ports import Caller
from matchmaker.worker import PoolWorker, run_matchmaker
from minuet.embedded import EmbeddedValkey
from storage.redis.client import connect
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import ANN, BOB, Scene, running
from tests.integration.matchmaker.watched_pools import HER, HIM, owns


@pytest.mark.usefixtures("matchmaker")
async def test_a_gap_in_the_events_makes_the_owner_learn_the_pool_anew(scene: Scene) -> None:
    """Ann's arrival was lost; Bob's number shows it, and they meet."""
    ann = await scene.join("ann")
    await scene.lobby.leave(ANN, ann.ticket.device_id)
    await asyncio.sleep(0.1)
    value = (await scene.redis.hget(scene.keys.user(ANN), "activity")) or b""
    assert value == b""
    await scene.activities.join(ANN, Caller(ann.ticket.device_id), Queued("friends", ann.ticket_id))
    silent = b"w|other||" + msgspec.msgpack.encode(ann.ticket)
    await scene.redis.hset(scene.keys.tickets("friends"), ann.ticket_id, silent)
    await scene.redis.hincrby(scene.keys.pool_counts("friends"), "events", 1)
    await scene.join("bob")
    (match,) = await scene.announcer.next()

    assert {match.a.user_id, match.b.user_id} == {ANN, BOB}


async def test_of_two_matchmakers_one_owns_the_pool_and_the_other_takes_over(scene: Scene) -> None:
    """A clean stop gives the pool up, so that nobody waits for the lease to end."""
    other = Scene.on(scene.redis)
    policy = scene.policies["friends"]
    first = asyncio.create_task(PoolWorker("friends", policy, scene.worker_ports).run())
    await until(lambda: owns(scene))
    owner = await scene.redis.get(scene.keys.pool_owner("friends"))
    second = asyncio.create_task(PoolWorker("friends", policy, other.worker_ports).run())
    await scene.join("ann")
    await scene.join("bob")
    await scene.announcer.next()
    assert other.announcer.matches == []
    await scene.join("carl")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    owner_after_it = await scene.redis.get(scene.keys.pool_owner("friends"))
    await scene.join("dora")
    # The second owner also says again what nobody has acknowledged of the first one's.
    await until(lambda: any("carl" in (m.a.user_id, m.b.user_id) for m in other.announcer.matches))
    (match, *_) = [m for m in other.announcer.matches if "carl" in (m.a.user_id, m.b.user_id)]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert {match.a.user_id, match.b.user_id} == {"carl", "dora"}
    assert owner_after_it != owner
    assert not await scene.redis.exists(scene.keys.pool_owner("friends"))


async def test_an_owner_whose_lease_was_lost_stops_at_once(scene: Scene) -> None:
    """Somebody else's token stands there: nothing more is claimed until that lease is over."""
    async with running(scene):
        await scene.redis.set(scene.keys.pool_owner("friends"), "9-other", px=60_000)
        await scene.join("ann")
        await scene.join("bob")
        await asyncio.sleep(1)
        assert scene.announcer.matches == []
        assert await scene.depth() == {"waiting": 2, "paused": 0, "matched": 0}

        await scene.redis.delete(scene.keys.pool_owner("friends"))
        await scene.announcer.next()


async def test_a_flushed_server_is_filled_again(scene: Scene) -> None:
    """All is lost; hubs put their tickets back, and the pool is served again."""
    async with running(scene):
        ann = await scene.join("ann", person=HER, intent="dating")
        await scene.redis.flushdb()
        assert await scene.lobby.verify(ann.ticket) is Standing.RESTORED
        await scene.join("bob", person=HIM, intent="dating")
        (match,) = await scene.announcer.next()

    assert match.a.queued_at == ann.queued_at


@pytest.fixture
async def breakable(private_valkey: EmbeddedValkey) -> AsyncIterator[Scene]:
    """A scene on a server that the test may break."""
    redis = connect(private_valkey.url)
    yield Scene.on(redis)
    await redis.aclose()


async def test_a_server_that_is_away_is_waited_for(breakable: Scene, private_valkey: EmbeddedValkey) -> None:
    """Killed and started again with its data: who waited before is matched after, at the old place."""
    async with running(breakable):
        ann = await breakable.join("ann")
        await asyncio.sleep(1.1)
        await private_valkey.kill()
        await asyncio.sleep(0.5)
        await private_valkey.start()
        await until(lambda: owns(breakable), timeout_s=30)
        await breakable.join("bob")
        (match, *_) = await breakable.announcer.next(timeout_s=30)

    assert (match.a.user_id, match.a.queued_at) == (ANN, ann.queued_at)


async def test_a_matchmaker_that_is_stopped_leaves_nothing_running(scene: Scene) -> None:
    """All its tasks end with it, within a moment, and the pools are free."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))
    await until(lambda: owns(scene))
    task.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(task, return_exceptions=True)

    assert asyncio.all_tasks() == before
    assert not await scene.redis.exists(scene.keys.pool_owner("friends"), scene.keys.pool_owner("dating"))


async def test_a_matchmaker_stops_whatever_it_is_doing(scene: Scene) -> None:
    """At any moment of its start: a cancellation that a library swallows must not keep the process alive."""
    for step in range(40):
        await scene.redis.flushdb()
        for name in ("ann", "bob", "eve"):
            await scene.join(name)
        task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))
        await asyncio.sleep(step * 0.0005)
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert task.done()
