"""Restrictions by REST on a node that does not have the call, while Redis is away: kept, and done when it is back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.clock import ManualClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.record import Call
from signaling.call.states import State
from signaling.calls import CallService
from signaling.local_call import LocalCall, LocalCalls
from signaling.owed_commands import KEPT_MS, MAX_KEPT_OF_USER, OwedCommands
from signaling.ports import StoredCall
from storage.redis.calls import RedisCallStore
from storage.redis.keys import Keys
from tests.integration.hub.house import HE, SHE, House, opened_house


class OutOfReach(RedisCallStore):
    """The real store, of which the test can cut off either half."""

    no_load = False
    no_commit = False

    async def load(self, call_id: CallId) -> StoredCall | None:
        if self.no_load:
            raise Unavailable
        return await super().load(call_id)

    async def commit(self, before: StoredCall, call: Call, **more: Any) -> StoredCall | None:
        if self.no_commit:
            raise Unavailable
        return await super().commit(before, call, **more)


class Elsewhere:
    """Another node on the same store, without the call."""

    def __init__(self, house: House) -> None:
        self.store = OutOfReach(house.redis, Keys())
        self.clock = ManualClock()
        calls = CallService(
            self.store, LocalCalls(house.clock), house.router, house.aftermath, house.clock, house.metrics
        )
        self.calls = calls
        self.owed = OwedCommands(calls, self.clock)


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    async with opened_house(redis_url) as opened:
        yield opened


async def record(house: House, call: LocalCall) -> Call:
    stored = await house.store.load(call.id)
    assert stored is not None
    return stored.call


@pytest.mark.parametrize("missing", ["no_load", "no_commit"])
async def test_what_cannot_be_reached_is_done_when_it_can(house: House, missing: str) -> None:
    """Nothing has changed before, and the caller is told so; asking again keeps it once."""
    call = await house.live_call()
    there = Elsewhere(house)
    setattr(there.store, missing, True)
    first = await there.owed.act(call.id, SHE, events.VideoRevoked)
    again = await there.owed.act(call.id, SHE, events.VideoRevoked)
    await there.owed.try_all()
    before = await record(house, call)
    setattr(there.store, missing, False)
    await there.owed.try_all()
    after = await record(house, call)

    assert (first, again) == (None, None)
    assert before.a.video_allowed
    assert not after.a.video_allowed
    assert not after.b.video_allowed
    assert len(there.owed) == 0


async def test_it_is_done_by_itself(house: House) -> None:
    """Nobody has to ask again."""
    call = await house.live_call()
    there = Elsewhere(house)
    there.store.no_load = True
    serving = [asyncio.create_task(there.owed.run()), asyncio.create_task(there.calls.run())]
    kept = await there.owed.act(call.id, HE, events.HungUp)
    await asyncio.sleep(0.7)
    there.store.no_load = False
    async with asyncio.timeout(20):
        while len(there.owed):
            await asyncio.sleep(0.05)
    after = await record(house, call)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)

    assert kept is None
    assert after.state is State.ENDED


async def test_a_hangup_that_comes_late_is_no_answer_to_what_was_asked_since(house: House) -> None:
    """She left the talk, which he has ended meanwhile; whether she wants to stay in touch nobody had asked her yet."""
    call = await house.live_call(IntentPolicy(decide_after_s=0))
    there = Elsewhere(house)
    there.store.no_load = True
    kept = await there.owed.act(call.id, SHE, events.HungUp)
    await house.calls.act(call.id, HE, events.HungUp)
    there.store.no_load = False
    await there.owed.try_all()
    after = await record(house, call)
    asked = await there.owed.act(call.id, SHE, events.HungUp)

    assert (kept, len(there.owed)) == (None, 0)
    assert after.state is State.DECIDING
    assert asked is not None
    assert (await record(house, call)).state is State.ENDED


async def test_on_the_node_of_the_call_it_holds_at_once(house: House) -> None:
    """There nothing is kept beside it: the call itself owes it to the store."""
    call = await house.live_call()
    owed = OwedCommands(house.calls, house.clock)
    house.store.away = True
    answer = await owed.act(call.id, SHE, events.VideoRevoked)

    assert answer == {}
    assert not call.allowance("a").send_video
    assert len(owed) == 0
    house.store.away = False


async def test_a_refusal_that_comes_late_is_the_end_of_it(house: House) -> None:
    """A stranger, or a call that is over by then: nothing is left to take away."""
    call = await house.live_call()
    there = Elsewhere(house)
    there.store.no_load = True
    await there.owed.act(call.id, UserId("stranger"), events.HungUp)
    await there.owed.act(CallId(house.ids.new()), SHE, events.HungUp)
    there.store.no_load = False
    await there.owed.try_all()

    assert len(there.owed) == 0
    assert (await record(house, call)).state is State.LIVE


async def test_what_was_never_done_is_given_up(house: House) -> None:
    """After two minutes nobody wants it any more."""
    there = Elsewhere(house)
    there.store.no_load = True
    await there.owed.act(CallId(house.ids.new()), SHE, events.HungUp)
    there.clock.advance((KEPT_MS - 1) / 1000)
    await there.owed.try_all()
    still = len(there.owed)
    there.clock.advance(0.001)
    await there.owed.try_all()

    assert (still, len(there.owed)) == (1, 0)


async def test_nobody_fills_a_node_with_calls_that_are_made_up(house: House) -> None:
    """A user has a few; more are refused as they would be without this."""
    there = Elsewhere(house)
    there.store.no_load = True
    for _ in range(MAX_KEPT_OF_USER):
        await there.owed.act(CallId(house.ids.new()), SHE, events.HungUp)
    with pytest.raises(MinuetError) as caught:
        await there.owed.act(CallId(house.ids.new()), SHE, events.HungUp)
    others = await there.owed.act(CallId(house.ids.new()), HE, events.HungUp)

    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert others is None


async def test_a_permission_is_refused_as_ever(house: House) -> None:
    """Only what takes away is kept."""
    call = await house.live_call()
    there = Elsewhere(house)
    there.store.no_load = True

    with pytest.raises(Unavailable):
        await there.calls.act(call.id, SHE, lambda seat: events.VideoApproved(seat, "both"))
