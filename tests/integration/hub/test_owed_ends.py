"""The store is away when somebody hangs up: the end of media is told at once, and what follows it is decided by it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import ConnectionId, UserId
from base.policy import Control, IntentPolicy
from signaling.call import events
from signaling.call.states import EndReason, Seat, State
from tests.fixtures.waiting import until
from tests.integration.hub.town import Town, opened_town

SHE, HE = UserId("she"), UserId("he")
BRIEF = IntentPolicy(control=Control.MUTUAL, decide_after_s=2)
"""Whoever leaves at once has talked too briefly to be asked anything, also on a busy machine."""


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """Two who both decide, and talk."""
    async with opened_town(redis_url, IntentPolicy(control=Control.MUTUAL, decide_after_s=0)) as opened:
        yield opened


def wishes(seat: Seat) -> events.Event:
    return events.ConnectRequested(seat, ConnectionId("01a1ff11-8356-7258-83d3-eb8643ac9011"))


async def stored_in(town: Town, *states: State) -> Any:
    async with asyncio.timeout(20):
        while True:
            stored = await town.hers.store.load(town.call_id)
            assert stored is not None
            if stored.call.state in states:
                return stored.call
            await asyncio.sleep(0.02)


async def leaves_briefly(town: Town) -> None:
    """She leaves, and so much time passes that whoever leaves then is asked."""
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)
    await asyncio.sleep(BRIEF.decide_after_s + 0.1)


async def he_is_told(town: Town) -> bool:
    """Her node says it a moment after it is stored."""
    await town.deliver()
    return bool(town.his.person.of("call.ended"))


async def test_a_no_after_a_hangup_that_waits_is_kept(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the record the call goes on, and there is nothing to decline; by what she was told there is."""
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, events.HungUp)
        await town.hers.calls.act(town.call_id, SHE, events.ConnectPassed)
        told = [kind for kind, _ in town.hers.person.heard]
        await until(town.hers.calls.owes)
    call = await stored_in(town, State.ENDED)
    await until(lambda: not town.hers.calls.owes())
    await until(lambda: he_is_told(town))

    assert told == ["call.state", "connect.prompt", "call.state", "call.ended"]
    assert call.reason is EndReason.COMPLETED
    assert len(town.hers.person.of("call.ended")) == 1
    assert len(town.his.person.of("call.ended")) == 1


async def test_what_waits_in_line_is_kept_as_soon_as_the_store_is_back(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else somebody who begins anew elsewhere meanwhile finds a call that they were told is over."""
    taken_at: list[float] = []
    commit = town.hers.store.commit

    async def notes(*args: Any, **more: Any) -> Any:
        stored = await commit(*args, **more)
        taken_at.append(asyncio.get_running_loop().time())
        return stored

    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, events.HungUp)
        await town.hers.calls.act(town.call_id, SHE, events.ConnectPassed)
        await asyncio.sleep(1.2)  # the pauses between tries have grown to a second, and two
    monkeypatch.setattr(town.hers.store, "commit", notes)
    await stored_in(town, State.ENDED)

    assert taken_at[-1] - taken_at[0] < 1.5


async def test_a_yes_after_a_hangup_that_waits_waits_too(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be decided by a call that goes on; it may be said again once the hangup is stored."""
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, events.HungUp)
        with pytest.raises(Unavailable):
            await town.hers.calls.act(town.call_id, SHE, wishes)
    call = await stored_in(town, State.DECIDING)
    await until(lambda: not town.call_at(town.hers).owed)
    before = town.hers.person.of("call.ended")
    await town.hers.calls.act(town.call_id, SHE, wishes)
    await town.hers.calls.act(town.call_id, HE, wishes)
    ended = await stored_in(town, State.ENDED)

    assert not call.connected
    assert not before, "the hangup was taken for a no to staying in touch"
    assert ended.reason is EndReason.CONNECTED


async def test_a_hangup_whose_answer_was_lost_is_said_once(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the store, and nobody here knows: said again, it must not answer what is asked after the talk."""
    commit = town.hers.store.commit

    async def loses_the_answer(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        await commit(*args, **more)
        raise Unavailable

    monkeypatch.setattr(town.hers.store, "commit", loses_the_answer)
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)
    await until(lambda: not town.call_at(town.hers).owed)

    stored = await town.hers.store.load(town.call_id)
    assert stored is not None
    assert stored.call.state is State.DECIDING
    assert [kind for kind, _ in town.hers.person.heard] == ["call.state", "connect.prompt"]


async def test_two_who_hang_up_at_once_are_both_asked(town: Town) -> None:
    """Whoever was a moment later has left the talk as well, and has not said that there is nothing to stay in touch for."""
    await asyncio.gather(
        town.hers.calls.act(town.call_id, SHE, events.HungUp),
        town.his.calls.act(town.call_id, HE, events.HungUp),
    )
    await town.deliver()

    stored = await town.hers.store.load(town.call_id)
    assert stored is not None
    assert stored.call.state is State.DECIDING
    for side in (town.hers, town.his):
        assert len(side.person.of("connect.prompt")) == 1
        assert not side.person.of("call.ended")


async def test_whoever_was_told_the_end_is_not_asked_any_more(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They had talked too briefly for that when she left, and long enough when he did, whose node could store it first."""
    async with opened_town(redis_url, BRIEF) as town:
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await leaves_briefly(town)
            await town.his.calls.act(town.call_id, HE, events.HungUp)
            asked = len(town.his.person.of("connect.prompt"))
        call = await stored_in(town, State.ENDED)
        await until(lambda: he_is_told(town))

        assert asked == 1
        assert call.reason is EndReason.COMPLETED
        assert [kind for kind, _ in town.hers.person.heard] == ["call.state", "call.ended"]
        assert len(town.his.person.of("call.ended")) == 1


async def test_what_was_told_is_not_judged_by_a_later_time(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call was over when she left it, for him as well, however long that waits for the store."""
    async with opened_town(redis_url, BRIEF) as town:
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await leaves_briefly(town)
            later = town.call_at(town.hers).as_told().state
        call = await stored_in(town, State.ENDED)

        assert later is State.ENDED
        assert call.reason is EndReason.HANGUP


async def test_whoever_hangs_up_on_the_question_says_no(town: Town) -> None:
    """Of what they saw, it is the question that they leave."""
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)

    stored = await town.hers.store.load(town.call_id)
    assert stored is not None
    assert (stored.call.state, stored.call.reason) == (State.ENDED, EndReason.COMPLETED)


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
