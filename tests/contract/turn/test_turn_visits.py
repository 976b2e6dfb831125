"""What the worker may rely on about visits to the TURN servers: one suite for Redis and for the unit tests' fake."""

import asyncio
from typing import Protocol

import pytest
from redis.asyncio import Redis

from base.clock import SystemClock
from base.errors import Unavailable
from base.ids import CallId
from jobs.ports import TurnVisits
from signaling.call.record import Call
from signaling.call.states import RELAYING, State
from storage.redis.calls import RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import CALL_PARTITIONS, Keys, call_partition
from storage.redis.turn_visits import RedisTurnVisits
from tests.contract.calls.call_records import in_partition, moved, now_ms, proposed
from tests.contract.calls.lossy_proxy import lossy_proxy
from tests.unit.jobs.memory_visits import MemoryTurnVisits

KEYS = Keys("test:")
AFTER_MS = (0, 60_000)
LEASE_MS = 60_000


class House(Protocol):
    """The list, and how calls get onto it."""

    visits: TurnVisits

    async def hang_up(self, call: Call) -> None:
        """Ends the media of a call; its visits are due at once and in a minute."""
        ...


class RedisHouse:
    def __init__(self, redis: Redis) -> None:
        self.visits_in_redis = RedisTurnVisits(redis, KEYS)
        self.visits: TurnVisits = self.visits_in_redis
        self.store = RedisCallStore(redis, KEYS, visits_after_ms=AFTER_MS)

    async def hang_up(self, call: Call) -> None:
        await self.go(call, State.CONNECTING, State.ENDED)

    async def go(self, call: Call, *states: State) -> None:
        """Creates the call and takes it through these states."""
        stored = await self.store.create(call, claimed_at_ms=now_ms())
        for state in states:
            assert stored is not None
            stored = await self.store.commit(stored, moved(stored.call, state))


class MemoryHouse:
    def __init__(self) -> None:
        self.memory = MemoryTurnVisits(SystemClock().wall_ms)
        self.visits: TurnVisits = self.memory

    async def hang_up(self, call: Call) -> None:
        self.memory.add(call.call_id, *AFTER_MS)


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    return one_redis


@pytest.fixture(params=["redis", "cluster_redis", "memory"])
def house(request: pytest.FixtureRequest) -> House:
    if request.param == "memory":
        return MemoryHouse()
    return RedisHouse(request.getfixturevalue(request.param))


async def taken(visits: TurnVisits, *, limit: int = 100, lease_ms: int = LEASE_MS) -> list[CallId]:
    return [visit.call_id for visit in (await visits.take(limit=limit, lease_ms=lease_ms)).due]


async def test_what_is_due_is_given_to_one_and_what_is_not_to_nobody(house: House) -> None:
    """Of two workers that ask at once, each visit goes to one; the one in a minute to neither."""
    calls = [proposed() for _ in range(20)]
    for call in calls:
        await house.hang_up(call)
    first, second = await asyncio.gather(taken(house.visits), taken(house.visits))

    assert sorted(first + second) == sorted(call.call_id for call in calls)
    assert await taken(house.visits) == []


async def test_a_visit_comes_back_when_its_lease_is_over(house: House) -> None:
    """Whoever took it may have died."""
    call = proposed()
    await house.hang_up(call)
    assert await taken(house.visits, lease_ms=0) == [call.call_id]
    # The end of a lease is a part of a millisecond after its beginning.
    await asyncio.sleep(0.002)

    assert await taken(house.visits) == [call.call_id]


async def test_what_is_done_does_not_come_back_nor_does_it_by_a_late_postponing(house: House) -> None:
    """A worker that was slow, after another has done it."""
    await house.hang_up(proposed())
    due = (await house.visits.take(limit=100, lease_ms=0)).due
    await house.visits.done(due)
    await house.visits.postpone({due[0]: now_ms()})

    assert await taken(house.visits) == []


async def test_a_postponed_visit_keeps_the_moment_at_which_it_was_due(house: House) -> None:
    """By that it is known for how long it has been in vain."""
    await house.hang_up(proposed())
    [first] = (await house.visits.take(limit=100, lease_ms=LEASE_MS)).due
    await house.visits.postpone({first: now_ms()})
    await asyncio.sleep(0.01)
    again = await house.visits.take(limit=100, lease_ms=LEASE_MS)

    assert again.due == [first]
    assert again.now_ms > first.due_at


async def test_no_more_are_given_than_were_asked_for_the_longest_due_first(house: House) -> None:
    """Across partitions."""
    calls = [proposed(call_id=in_partition(number * 16 % CALL_PARTITIONS)) for number in range(6)]
    for call in calls:
        await house.hang_up(call)
        await asyncio.sleep(0.005)

    assert await taken(house.visits, limit=4) == [call.call_id for call in calls[:4]]
    assert await taken(house.visits, limit=4) == [call.call_id for call in calls[4:]]


@pytest.mark.parametrize("over", [State.DECIDING, State.ENDED])
@pytest.mark.parametrize("before", sorted(RELAYING))
async def test_the_commit_that_ends_media_leaves_the_visits(redis: Redis, before: State, over: State) -> None:
    """In the same step, so that no crash comes between; and a decision after it leaves no second ones."""
    house = RedisHouse(redis)
    call = proposed()
    ways = (State.CONNECTING, before, over) if before is not State.CONNECTING else (before, over)
    await house.go(call, *ways, *([State.ENDED] if over is State.DECIDING else []))
    [key] = [key async for key in redis.scan_iter("*:visits")]

    assert await redis.zcard(key) == len(AFTER_MS)
    assert await redis.ttl(key) > 0
    assert await taken(house.visits) == [call.call_id]


@pytest.mark.parametrize(
    "ways", [(State.ENDED,), (State.CONNECTING, State.LIVE, State.RECONNECTING, State.LIVE)]
)
async def test_a_call_without_media_or_still_with_it_is_visited_by_nobody(
    redis: Redis, ways: tuple[State, ...]
) -> None:
    """Nobody who declined was given a relay."""
    house = RedisHouse(redis)
    await house.go(proposed(), *ways)

    assert [key async for key in redis.scan_iter("*:visits")] == []


async def test_without_turn_servers_nothing_is_left_behind(redis: Redis) -> None:
    """Nobody would ever clear it away."""
    house = RedisHouse(redis)
    house.store = RedisCallStore(redis, KEYS)
    await house.go(proposed(), State.CONNECTING, State.ENDED)

    assert [key async for key in redis.scan_iter("*:visits")] == []


async def test_what_nobody_makes_for_an_hour_is_dropped(redis: Redis) -> None:
    """Where no worker was told of the TURN servers, the list stays bounded."""
    house = RedisHouse(redis)
    call = proposed()
    key = KEYS.calls_to_visit(call_partition(call.call_id))
    await redis.zadd(key, {"0191a2b3-0000-7000-8000-0123456789ab 1": now_ms() - 3_700_000})
    await house.hang_up(call)

    assert await taken(house.visits) == [call.call_id]


async def test_how_long_a_visit_waits_that_nobody_takes_can_be_seen(redis: Redis) -> None:
    """By every process, also by those that cannot reach a TURN server's admin interface."""
    house = RedisHouse(redis)
    none = await house.visits_in_redis.overdue_ms()
    await house.hang_up(proposed())
    await asyncio.sleep(0.05)
    waiting = await house.visits_in_redis.overdue_ms()
    await house.visits.take(limit=1, lease_ms=LEASE_MS)

    assert none == 0
    assert 50 <= waiting < 30_000
    assert await house.visits_in_redis.overdue_ms() == 0


async def test_a_store_that_is_away_is_said_to_be(redis_url: str) -> None:
    """And nothing else is raised."""
    client = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    visits = RedisTurnVisits(client, KEYS)
    with pytest.raises(Unavailable):
        await visits.take(limit=1, lease_ms=1)
    await client.aclose()


async def test_a_taking_whose_answer_was_lost_is_not_lost(redis_url: str, redis: Redis) -> None:
    """Asked again by the client itself, it finds what it took, not an empty list and a wait for the lease to end."""
    house, calls = RedisHouse(redis), [proposed(), proposed()]
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        visits = RedisTurnVisits(client, KEYS)
        await house.hang_up(calls[0])
        before = await taken(visits)
        await house.hang_up(calls[1])
        proxy.lose_answer_to = b"EVALSHA"
        after = await taken(visits)
        await client.aclose()

    assert proxy.lost == 1
    assert before == [calls[0].call_id]
    assert after == [calls[1].call_id]
    assert await taken(house.visits) == []
