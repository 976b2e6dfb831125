"""Random histories of calls on the real server: the indexes always say what the records say."""

import asyncio
from collections import Counter
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from base.ids import CallId
from signaling.call.states import State
from signaling.ports import StoredCall
from storage.redis.calls import RedisCallStore, RedisEndedCalls
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.contract.calls.call_records import in_partition, moved, now_ms, proposed

# Few calls in two partitions: histories must meet each other.
PARTITIONS = [0, 0, 255]
LASTING = [state for state in State if state is not State.ENDED]
_prefixes = count()

whose = st.integers(0, len(PARTITIONS) - 1)
steps = st.one_of(
    st.tuples(st.just("create"), whose, st.just(State.PROPOSED)),
    st.tuples(st.just("create late"), whose, st.just(State.PROPOSED)),
    st.tuples(st.just("commit"), whose, st.sampled_from(LASTING)),
    st.tuples(st.just("commit stale"), whose, st.sampled_from(list(State))),
    st.tuples(st.just("race"), whose, st.sampled_from(LASTING)),
    st.tuples(st.just("end"), whose, st.just(State.ENDED)),
    st.tuples(st.just("record"), whose, st.just(State.ENDED)),
    st.tuples(st.just("record stale"), whose, st.just(State.ENDED)),
)


class History:
    """Plays steps against the store, with a plain model beside it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.keys = Keys(f"history{next(_prefixes)}:")
        self.store = RedisCallStore(redis, self.keys)
        self.ended = RedisEndedCalls(redis, self.keys)
        self.ids = [in_partition(partition) for partition in PARTITIONS]
        self.seen: dict[CallId, list[StoredCall]] = {call_id: [] for call_id in self.ids}
        self.waits: set[CallId] = set()

    async def play(self, step: str, call_id: CallId, state: State) -> None:
        before = self.seen[call_id]
        if step.startswith("create"):
            claimed_at = now_ms() - (60_000 if step == "create late" else 0)
            stored = await self.store.create(proposed(call_id=call_id), claimed_at_ms=claimed_at)
            assert (stored is None) == (not before and step == "create late")
            if stored is not None and not before:
                before.append(stored)
            assert stored == (before[-1] if before else None)
        elif not before:
            return
        elif step == "commit stale":
            stale = StoredCall(before[0].call, "0" * 16) if len(before) == 1 else before[-2]
            assert await self.store.commit(stale, moved(stale.call, state)) is None
        elif step == "record":
            if call_id in self.waits:
                assert await self.ended.release([before[-1]]) == 1
                self.waits.discard(call_id)
        elif step == "record stale":
            assert await self.ended.release([StoredCall(before[-1].call, "0" * 16)]) == 0
        else:
            await self._commit(call_id, state, rivals=3 if step == "race" else 1)

    async def _commit(self, call_id: CallId, state: State, *, rivals: int) -> None:
        last = self.seen[call_id][-1]
        if last.call.state is State.ENDED:
            # The end is final; facts may still be added to it.
            state = State.ENDED
        answers = await asyncio.gather(
            *(self.store.commit(last, moved(last.call, state, resets=n)) for n in range(rivals))
        )
        (winner,) = (answer for answer in answers if answer is not None)
        self.seen[call_id].append(winner)
        if state is State.ENDED:
            self.waits.add(call_id)

    async def check(self) -> None:
        stands = {call_id: seen[-1] for call_id, seen in self.seen.items() if seen}
        states = Counter(stored.call.state for stored in stands.values())
        deadlines: dict[bytes, float] = {}
        for partition in set(PARTITIONS):
            key = self.keys.call_deadlines(partition)
            deadlines |= dict(await self.redis.zrange(key, 0, -1, withscores=True))

        assert {call_id: await self.store.load(call_id) for call_id in stands} == stands
        assert await self.store.count_by_state() == {state.value: states[state] for state in LASTING}
        assert deadlines == {
            call_id.encode(): stored.call.next_deadline_at
            for call_id, stored in stands.items()
            if stored.call.state is not State.ENDED
        }
        waiting = await self.ended.waiting(passing_over=())
        assert {call.call_id for call in waiting.calls} == self.waits
        for call_id, stored in stands.items():
            recorded = stored.call.state is State.ENDED and call_id not in self.waits
            # Only what is in history may ever go away by itself.
            assert (await self.redis.pttl(self.keys.call(call_id)) > 0) == recorded


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(steps, min_size=1, max_size=25))
def test_counts_and_indexes_never_drift_from_the_records(
    redis_url: str, history: list[tuple[str, int, State]]
) -> None:
    """Whatever is created, committed, raced for, ended, recorded and changed after its end."""

    async def play() -> None:
        redis = connect(redis_url)
        try:
            house = History(redis)
            for step, whose, state in history:
                await house.play(step, house.ids[whose], state)
            await house.check()
        finally:
            await redis.aclose()

    asyncio.run(play())
