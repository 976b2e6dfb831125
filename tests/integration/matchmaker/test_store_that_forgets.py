"""The owner of a pool when the store has lost something: nothing is claimed until all is put back, and nothing is lost."""

import asyncio
from collections.abc import Callable
from random import Random

from redis.asyncio import Redis

from base.ids import NodeId
from base.policy import Gender
from matchmaker.lobby import Standing
from matchmaker.matches import seated
from matchmaker.ports import TicketState
from matchmaker.tenure import LEASE_MS
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import Scene, running
from tests.unit.matchmaker.people import Somebody

HER = Somebody(gender=Gender.FEMALE)
"""Among people like her nobody is matched in `dating`, so that all wait."""


async def test_nothing_is_claimed_while_things_are_put_back(scene: Scene) -> None:
    """Half a pool is not the pool: who would be first may not stand there yet. Afterwards everybody is matched."""
    async with running(scene):
        scene.health.restoring = True
        await scene.join("ann")
        await scene.join("bob")
        await asyncio.sleep(1.2)
        before = list(scene.announcer.matches)
        depth_before = await scene.depth()
        scene.health.restoring = False
        (match,) = await scene.announcer.next()

    assert before == []
    assert depth_before == {"waiting": 2, "paused": 0, "matched": 0}
    assert {match.a.user_id, match.b.user_id} == {"ann", "bob"}


async def test_an_owner_that_finds_the_store_suspect_keeps_its_pool_and_learns_it_anew(scene: Scene) -> None:
    """The lease is renewed while it waits, so that no other takes the pool and learns it for nothing."""
    async with running(scene):
        owner = await scene.redis.get(scene.keys.pool_owner("friends"))
        scene.health.restoring = True
        ended = await _lost_after(scene, LEASE_MS / 1000 + 0.7)
        # Written past all events, as what a store is given back from a file.
        ann, bob = await scene.join("ann"), await scene.join("bob")
        await scene.redis.delete(scene.keys.arrivals("friends"))
        scene.health.restoring = False
        (match,) = await scene.announcer.next()

    assert not ended
    assert owner is not None
    assert {match.a, match.b} == {seated(ann.ticket), seated(bob.ticket)}


async def test_a_takeover_has_the_store_looked_at(scene: Scene) -> None:
    """An owner may be gone because the store has lost who it was, and the tickets with that."""
    async with running(scene):
        await until(lambda: scene.health.looks >= len(scene.policies))


async def test_places_are_kept_in_a_flushed_pool(scene: Scene) -> None:
    """Whoever is put back last comes first all the same, if they have waited longest."""
    names = [f"user-{number}" for number in range(6)]
    joined = [await scene.join(name, intent="dating", person=HER) for name in names]
    async with running(scene):
        await until(_depth_is(scene, 6))
        scene.health.restoring = True
        await scene.redis.flushdb()
        for each in reversed(joined):
            assert await scene.lobby.verify(each.ticket) is Standing.RESTORED
        scene.health.restoring = False
        stored = await scene.queues.scan("dating")

    assert sorted(each.ticket.queued_at for each in stored) == [each.queued_at for each in joined]
    assert {each.ticket.ticket_id for each in stored} == {each.ticket_id for each in joined}


async def test_a_pool_that_has_fallen_back_is_learnt_anew(scene: Scene) -> None:
    """A replica took over that had not heard the last of it: the owner knows tickets that left, and misses others."""
    async with running(scene):
        ann = await scene.join("ann", intent="dating", person=HER)
        old = await _dumped(scene.redis, "{q:dating}")
        dora = await scene.join("dora", intent="dating", person=HER)
        await scene.lobby.leave(ann.ticket.user_id, ann.ticket.device_id)
        await until(lambda: _waiting(scene) == 1)
        takeovers = _takeovers(scene)
        await _restored(scene.redis, old)
        # Ann's device says that she has left, Dora's that she waits.
        await scene.lobby.leave(ann.ticket.user_id, ann.ticket.device_id, ann.ticket)
        assert await scene.lobby.verify(dora.ticket) is Standing.RESTORED
        await until(lambda: _takeovers(scene) > takeovers)
        await until(lambda: _waiting(scene) == 1)

        assert await scene.queues.state("dating", ann.ticket_id) is TicketState.ABSENT
        assert await scene.queues.state("dating", dora.ticket_id) is TicketState.WAITING


async def test_a_ticket_from_before_the_fall_gives_way_to_the_one_that_the_device_has(scene: Scene) -> None:
    """The device left and queued anew in the moment that was lost: its old place must not stay as a ghost."""
    first = await scene.join("ann", intent="dating", person=HER)
    old = [*await _dumped(scene.redis, "{u:ann}"), *await _dumped(scene.redis, "{q:dating}")]
    await scene.lobby.leave(first.ticket.user_id, first.ticket.device_id)
    await asyncio.sleep(0.005)
    second = await scene.join("ann", intent="dating", person=HER)
    await _restored(scene.redis, old)

    assert await scene.lobby.verify(second.ticket) is Standing.RESTORED
    assert [each.ticket for each in await scene.queues.scan("dating")] == [second.ticket]
    assert await scene.lobby.verify(first.ticket) is Standing.LEFT


async def test_places_are_put_back_paused_whose_people_are_not_there(scene: Scene) -> None:
    """They would be matched before anybody could pause them."""
    ann = await scene.join("ann")
    await scene.redis.flushdb()

    assert await scene.lobby.verify(ann.ticket, paused=True) is Standing.RESTORED
    assert await scene.queues.state("friends", ann.ticket_id) is TicketState.PAUSED
    assert await scene.lobby.verify(ann.ticket, paused=True) is Standing.PAUSED
    assert await scene.lobby.resume(ann.ticket) is Standing.WAITING


async def test_no_ticket_is_matched_twice_however_often_the_store_forgets(scene: Scene) -> None:
    """Flushed and put back again and again under load: by the users' slots nobody is in two matches that count."""
    random = Random(5)
    async with running(scene):
        joined = [await scene.join(f"user-{number}", node=NodeId("node-1")) for number in range(10)]
        for _ in range(4):
            await asyncio.sleep(random.random() * 0.05)
            scene.health.restoring = True
            await scene.redis.flushdb()
            for each in random.sample(joined, len(joined)):
                await scene.lobby.verify(each.ticket)
            await asyncio.sleep(0.05)
            scene.health.restoring = False
            await until(_all_matched(scene))
        counted: list[str] = []
        for match in {match.call_id: match for match in scene.announcer.matches}.values():
            state = await scene.queues.match_records("friends", [match.call_id])
            if state:
                counted += [match.a.user_id, match.b.user_id]

    assert sorted(counted) == sorted(each.ticket.user_id for each in joined)


def _depth_is(scene: Scene, number: int) -> Callable[[], object]:
    async def condition() -> bool:
        return (await scene.depth("dating"))["waiting"] == number

    return condition


def _all_matched(scene: Scene) -> Callable[[], object]:
    async def condition() -> bool:
        return (await scene.depth())["matched"] == 10

    return condition


def _waiting(scene: Scene, pool: str = "dating") -> float:
    """How many tickets the owner's metrics show."""
    sides = ("female", "male", "other")
    values = (
        scene.registry.get_sample_value("minuet_queue_tickets", {"intent": pool, "side": side})
        for side in sides
    )
    return sum(value or 0 for value in values)


def _takeovers(scene: Scene) -> float:
    return scene.registry.get_sample_value("minuet_pool_takeovers_total", {"intent": "dating"}) or 0


async def _lost_after(scene: Scene, seconds: float) -> bool:
    """Whether the pool has no owner at some moment of these seconds."""
    lost = False
    ends_at = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends_at:
        lost = lost or not await scene.redis.exists(scene.keys.pool_owner("friends"))
        await asyncio.sleep(0.05)
    return lost


async def _dumped(redis: Redis, tag: str) -> list[tuple[bytes, bytes]]:
    """The keys of one slot as they are now, but who owns the pool: that is not what is to be lost."""
    names = [name for name in await redis.keys(f"*{tag}*") if not name.endswith(b":owner")]
    return [(name, await redis.dump(name)) for name in names]


async def _restored(redis: Redis, dumped: list[tuple[bytes, bytes]]) -> None:
    for name, content in dumped:
        await redis.restore(name, 0, content, replace=True)
