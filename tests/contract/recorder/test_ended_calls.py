"""What the recorder may rely on about the list of ended calls: one suite for Redis and for the fake of the unit tests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest
from redis.asyncio import Redis

from base.clock import SystemClock
from base.errors import Unavailable
from base.ids import CallId
from jobs.ports import EndedCalls, Loaded, WaitingCall
from signaling.call.record import Call
from signaling.call.states import State
from signaling.ports import StoredCall
from storage.redis.calls import READABLE_AFTER_MS, RedisCallStore, RedisEndedCalls
from storage.redis.client import connect
from storage.redis.keys import CALL_PARTITIONS, Keys
from tests.contract.calls.call_records import in_partition, moved, new_id, now_ms, proposed
from tests.unit.recorder.memory_stores import MemoryEndedCalls

KEYS = Keys("test:")


class House(Protocol):
    """The list, and the ways in which calls get onto it."""

    ended: EndedCalls

    async def end(self, call: Call) -> StoredCall: ...
    async def change(self, stored: StoredCall) -> StoredCall: ...
    async def lose(self, call_id: CallId) -> None: ...
    async def spoil(self, call_id: CallId) -> None: ...


@dataclass
class RedisHouse:
    redis: Redis

    def __post_init__(self) -> None:
        self.ended = RedisEndedCalls(self.redis, KEYS)
        self.store = RedisCallStore(self.redis, KEYS)

    async def end(self, call: Call) -> StoredCall:
        stored = await self.store.create(call, claimed_at_ms=now_ms())
        assert stored is not None
        return await self.change(stored)

    async def change(self, stored: StoredCall) -> StoredCall:
        after = await self.store.commit(stored, moved(stored.call, State.ENDED))
        assert after is not None
        return after

    async def lose(self, call_id: CallId) -> None:
        await self.redis.delete(KEYS.call(call_id))

    async def spoil(self, call_id: CallId) -> None:
        await self.redis.hset(KEYS.call(call_id), "payload", b"\xc1 of another release")


class MemoryHouse:
    def __init__(self) -> None:
        self.ended = MemoryEndedCalls(SystemClock().wall_ms)

    async def end(self, call: Call) -> StoredCall:
        return await self.change(StoredCall(call, ""))

    async def change(self, stored: StoredCall) -> StoredCall:
        self.ended.end(moved(stored.call, State.ENDED))
        after = self.ended.records[stored.call.call_id]
        assert after is not None
        return after

    async def lose(self, call_id: CallId) -> None:
        self.ended.lose(call_id)

    async def spoil(self, call_id: CallId) -> None:
        self.ended.spoil(call_id)


@pytest.fixture(params=["redis", "cluster_redis", "memory"])
def house(request: pytest.FixtureRequest) -> House:
    if request.param == "memory":
        return MemoryHouse()
    return RedisHouse(request.getfixturevalue(request.param))


async def waiting_ids(house: House, passing_over: tuple[CallId, ...] = ()) -> list[CallId]:
    return [call.call_id for call in (await house.ended.waiting(passing_over=passing_over)).calls]


async def test_an_ended_call_waits_from_its_end_on(house: House) -> None:
    """With the moment of its end, on the store's clock."""
    before = now_ms()
    stored = await house.end(proposed())
    waiting = await house.ended.waiting(passing_over=())

    assert [call.call_id for call in waiting.calls] == [stored.call.call_id]
    assert before - 5 <= waiting.calls[0].since_at <= waiting.now_ms <= now_ms() + 5
    assert waiting.total == 1
    assert await house.ended.load([stored.call.call_id]) == Loaded([stored], [], [])


async def test_nothing_waits_where_nothing_ended(house: House) -> None:
    """The usual answer."""
    waiting = await house.ended.waiting(passing_over=())

    assert (waiting.calls, waiting.total) == ([], 0)


async def test_the_oldest_comes_first(house: House) -> None:
    """Over all partitions."""
    ids = []
    for partition in (200, 3, 3, 90):
        ids.append((await house.end(proposed(call_id=in_partition(partition)))).call.call_id)
        await asyncio.sleep(0.003)

    assert await waiting_ids(house) == ids


async def test_a_released_call_waits_no_more(house: House) -> None:
    """And releasing it again does no harm."""
    stored = await house.end(proposed())
    released = await house.ended.release([stored])
    await house.ended.release([stored])

    assert released == 1
    assert await waiting_ids(house) == []


async def test_a_call_that_changed_after_it_was_read_stays_on_the_list(house: House) -> None:
    """What was recorded is not what stands: it must be recorded again, from the place that it had."""
    read = await house.end(proposed())
    since = (await house.ended.waiting(passing_over=())).calls[0].since_at
    await asyncio.sleep(0.003)
    changed = await house.change(read)
    released = await house.ended.release([read])

    assert released == 0
    assert (await house.ended.waiting(passing_over=())).calls == [WaitingCall(read.call.call_id, since)]
    assert (await house.ended.load([read.call.call_id])).calls == [changed]


async def test_a_call_that_changes_after_it_was_released_waits_again(house: House) -> None:
    """A fact that comes after the end (a quality report, say) reaches history too."""
    stored = await house.end(proposed())
    await house.ended.release([stored])
    changed = await house.change(stored)

    assert await waiting_ids(house) == [stored.call.call_id]
    assert (await house.ended.load([stored.call.call_id])).calls == [changed]


async def test_calls_to_be_passed_over_do_not_hide_the_others(house: House) -> None:
    """However many there are, and all in one partition; they count as waiting."""
    ids = [(await house.end(proposed(call_id=in_partition(7)))).call.call_id for _ in range(30)]
    await asyncio.sleep(0.003)
    young = (await house.end(proposed(call_id=in_partition(7)))).call.call_id
    waiting = await house.ended.waiting(passing_over=ids)

    assert [call.call_id for call in waiting.calls] == [young]
    assert waiting.total == 31


async def test_what_another_recorder_took_is_not_loaded_again(house: House) -> None:
    """Two recorders read the same list; the slower one must not do the work twice."""
    first, second = await house.end(proposed()), await house.end(proposed())
    await house.ended.release([first])

    assert await house.ended.load([first.call.call_id, second.call.call_id]) == Loaded([second], [], [])


async def test_a_lost_record_is_named_and_can_be_forgotten(house: House) -> None:
    """Nothing can be recorded of it; it must not be looked for until the end of days."""
    stored = await house.end(proposed())
    await house.lose(stored.call.call_id)
    loaded = await house.ended.load([stored.call.call_id])
    await house.ended.forget(loaded.lost)

    assert loaded == Loaded([], [stored.call.call_id], [])
    assert await waiting_ids(house) == []


async def test_a_record_that_is_there_is_not_forgotten(house: House) -> None:
    """The store may have got it back meanwhile."""
    stored = await house.end(proposed())
    await house.ended.forget([stored.call.call_id])

    assert await waiting_ids(house) == [stored.call.call_id]


async def test_an_unreadable_record_does_not_keep_others_from_being_loaded(house: House) -> None:
    """It is named, and stays on the list for a release that knows its form."""
    good, bad = await house.end(proposed()), await house.end(proposed())
    await house.spoil(bad.call.call_id)
    loaded = await house.ended.load([bad.call.call_id, good.call.call_id])

    assert loaded == Loaded([good], [], [bad.call.call_id])
    assert set(await waiting_ids(house)) == {good.call.call_id, bad.call.call_id}


async def test_a_long_list_is_read_in_shares(redis: Redis) -> None:
    """After an outage many wait: an answer is bounded, the number of those who wait is not."""
    house = RedisHouse(redis)
    crowd = {new_id(): n for n in range(500)}
    await redis.zadd(KEYS.calls_ended(9), crowd)
    waiting = await house.ended.waiting(passing_over=())

    assert waiting.total == 500
    assert 0 < len(waiting.calls) <= 16
    assert [call.since_at for call in waiting.calls] == list(range(len(waiting.calls)))


async def test_every_partition_is_read(redis: Redis) -> None:
    """A call must not depend on its last byte."""
    house = RedisHouse(redis)
    ids = [in_partition(n) for n in range(CALL_PARTITIONS)]
    for call_id in ids:
        await house.end(proposed(call_id=call_id))

    assert sorted(await waiting_ids(house)) == sorted(ids)


async def test_a_record_outlives_its_release_by_ten_minutes_and_no_more(redis: Redis) -> None:
    """Latecomers still learn how the call ended; without the release it stays for ever."""
    house = RedisHouse(redis)
    stored = await house.end(proposed())
    key = KEYS.call(stored.call.call_id)
    kept_ms = await redis.pttl(key)
    await house.ended.release([stored])
    released_ms = await redis.pttl(key)
    await house.change(stored)

    assert kept_ms == -1
    assert READABLE_AFTER_MS - 2_000 < released_ms <= READABLE_AFTER_MS == 600_000
    assert await redis.pttl(key) == -1


@pytest.mark.parametrize(
    "ask",
    [
        lambda ended: ended.waiting(passing_over=()),
        lambda ended: ended.load([CallId(new_id())]),
        lambda ended: ended.release([StoredCall(proposed(), "rev")]),
        lambda ended: ended.forget([CallId(new_id())]),
    ],
    ids=["waiting", "load", "release", "forget"],
)
@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_an_absent_store_is_unavailable(kind: str, ask: Callable[[EndedCalls], object]) -> None:
    """Each question has the same retryable refusal."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    memory = MemoryEndedCalls(now_ms)
    memory.away = True

    with pytest.raises(Unavailable):
        await ask(memory if kind == "memory" else RedisEndedCalls(redis, KEYS))
    await redis.aclose()
