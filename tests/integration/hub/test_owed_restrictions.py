"""Restrictions while Redis is away: they bind this node at once, hold whatever else happens, and are stored later."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from base.errors import ErrorCode, MinuetError
from signaling.call import events
from signaling.call.record import Call
from signaling.call.states import State
from signaling.local_call import LocalCall
from signaling.protocol.messages.call import MediaStats
from tests.integration.hub.house import HE, SHE, House, opened_house


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    async with opened_house(redis_url) as opened:
        yield opened


async def stored(house: House, call: LocalCall, fits: Callable[[Call], bool]) -> Call:
    """The record, once it is as the test wants it."""
    async with asyncio.timeout(10):
        while True:
            record = await house.store.load(call.id)
            assert record is not None
            if fits(record.call):
                return record.call
            await asyncio.sleep(0.02)


async def test_a_revocation_binds_at_once_and_is_stored_later(house: House) -> None:
    """She is answered, this node allows nothing any more, and the record follows when it can."""
    call = await house.live_call()
    house.store.away = True

    await house.calls.act(call.id, SHE, events.VideoRevoked)

    assert not call.allowance("a").send_video
    assert not call.allowance("b").send_video
    house.store.away = False
    record = await stored(house, call, lambda record: not record.a.video_allowed)
    assert record.state is State.LIVE
    assert call.owed == []


async def test_what_is_owed_holds_whatever_else_is_committed(house: House) -> None:
    """Another change that gets through in between does not bring the video back."""
    call = await house.live_call()
    house.store.away = True
    await house.calls.act(call.id, SHE, events.VideoRevoked)

    house.store.away = False
    await house.calls.decide(call, events.ExtensionRequested("b"))

    assert not call.allowance("a").send_video
    await stored(house, call, lambda record: not record.b.video_allowed)


@pytest.mark.parametrize("away", [False, True], ids=["slow", "then away"])
async def test_a_revocation_does_not_wait_behind_what_others_do(house: House, away: bool) -> None:
    """His commands are under way and the store hangs: his camera's way is closed all the same, and stays closed."""
    call = await house.live_call()
    house.store.slow = asyncio.Event()
    his = [
        asyncio.create_task(house.calls.decide(call, events.QualityReported("b", MediaStats(rtt_ms=rtt_ms))))
        for rtt_ms in (1.0, 2.0, 3.0)
    ]
    await asyncio.sleep(0)

    hers = asyncio.create_task(house.calls.act(call.id, SHE, events.VideoRevoked))
    await asyncio.sleep(0)
    assert not call.allowance("b").send_video
    house.store.away = away
    house.store.slow.set()
    await asyncio.wait([hers, *his])

    assert not call.allowance("b").send_video
    house.store.away = False
    await stored(house, call, lambda record: not record.b.video_allowed)
    await until_nothing_is_owed(call)
    assert not call.allowance("b").send_video


async def test_a_restriction_that_was_given_up_leaves_nothing_behind(house: House) -> None:
    """Whatever ends the command, what it held the view to goes with it."""
    call = await house.live_call()
    house.store.slow = asyncio.Event()
    hanging_up = asyncio.create_task(house.calls.act(call.id, SHE, events.HungUp))
    await asyncio.sleep(0)
    assert call.view.state is State.ENDED

    hanging_up.cancel()
    await asyncio.wait([hanging_up])

    assert call.owed == []
    assert call.view == call.stored.call


async def until_nothing_is_owed(call: LocalCall) -> None:
    async with asyncio.timeout(10):
        while call.owed:
            await asyncio.sleep(0.02)


async def test_a_hangup_is_never_refused(house: House) -> None:
    """No relay passes any more, and the call ends in the record too."""
    call = await house.live_call()
    house.store.away = True

    await house.calls.act(call.id, HE, events.HungUp)

    assert call.view.state is State.ENDED
    house.store.away = False
    await stored(house, call, lambda record: record.state is State.ENDED)


async def test_a_call_was_over_when_its_people_were_told_so(house: House) -> None:
    """However long the store is away: history says how long the two could talk, and not how long it took to be written."""
    call = await house.live_call()
    house.store.away = True

    await house.calls.act(call.id, HE, events.HungUp)
    told_at = house.clock.now_ms()
    await asyncio.sleep(0.3)

    house.store.away = False
    record = await stored(house, call, lambda record: record.state is State.ENDED)
    assert record.closed_at is not None
    assert record.live_since is not None
    assert record.live_since <= record.closed_at <= told_at


async def test_a_second_end_while_the_first_is_owed_is_no_second_end(house: House) -> None:
    """He hangs up, she blocks him, and the store is away: one of the two is owed, and the record ends once."""
    call = await house.live_call()
    house.store.away = True

    await house.calls.act(call.id, HE, events.HungUp)
    await house.calls.act(call.id, SHE, events.Blocked)

    assert len(call.owed) == 1
    house.store.away = False
    record = await stored(house, call, lambda record: record.state is State.ENDED)
    await until_nothing_is_owed(call)
    assert (await stored(house, call, lambda _record: True)).version == record.version


@pytest.mark.parametrize(
    "event",
    [lambda seat: events.VideoApproved(seat, "both"), events.ExtensionRequested],
    ids=["video", "time"],
)
async def test_what_permits_waits_for_the_store(house: House, event: Callable[[str], events.Event]) -> None:
    """`unavailable`, retryable, and nothing has changed."""
    call = await house.live_call()
    await house.calls.act(call.id, SHE, events.VideoRevoked)
    await house.calls.decide(call, events.VideoStopped())
    before = call.view
    house.store.away = True

    with pytest.raises(MinuetError) as caught:
        await house.calls.act(call.id, SHE, event)

    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert caught.value.spec.retryable
    assert call.view == before
    assert not call.allowance("b").send_video


async def test_fifty_commands_at_once_are_all_decided_one_after_another(house: House) -> None:
    """Two processes that act on one call meet at the commit; nobody's change is lost."""
    call = await house.live_call()
    elsewhere = LocalCall(call.stored)
    reports = [
        house.calls.decide(where, events.RelayRefused(seat, ErrorCode.SDP_INVALID))
        for _ in range(10)
        for where, seat in ((call, "a"), (elsewhere, "b"))
    ]

    await asyncio.gather(*reports)

    record = await stored(house, call, lambda record: sum(record.refusals.values()) >= 20)
    assert record.refusals == {"sdp_invalid": 20}
