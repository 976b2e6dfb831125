"""What somebody was told to be over is over for whatever comes next, and what nobody was told yet is shown to nobody."""

import asyncio
from typing import Any

import pytest

from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import ConnectionId, SessionId, UserId
from base.policy import Control, IntentPolicy
from signaling.call import events
from signaling.call.states import EndReason, Seat, State
from tests.fixtures.waiting import until
from tests.integration.hub.town import Listener, opened_town

SHE, HE = UserId("she"), UserId("he")
MUTUAL = IntentPolicy(control=Control.MUTUAL, decide_after_s=0)


def wishes(seat: Seat) -> events.Event:
    return events.ConnectRequested(seat, ConnectionId("01a1ff11-8356-7258-83d3-eb8643ac9011"))


async def test_a_yes_after_a_no_that_waits_makes_no_connection(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She wished for it, thought better of it, and was told the end; by the record her wish stands still."""
    async with opened_town(redis_url, MUTUAL) as town:
        await town.hers.calls.act(town.call_id, SHE, wishes)
        await town.hers.calls.act(town.call_id, SHE, events.HungUp)
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, events.ConnectPassed)
        with pytest.raises(MinuetError) as caught:
            await town.hers.calls.act(town.call_id, HE, wishes)
        await until(lambda: not town.call_at(town.hers).owed)
        stored = await town.hers.store.load(town.call_id)

        assert caught.value.code is ErrorCode.CALL_ENDED
        assert stored is not None
        assert (stored.call.connected, stored.call.reason) == (False, EndReason.COMPLETED)


async def test_an_end_that_is_being_stored_is_not_shown_to_who_comes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her page is loaded anew while he hangs up: she finds the call, hears its end, and that she waits again."""
    async with opened_town(redis_url, IntentPolicy(), talking=False) as town:
        hers, call = town.hers, town.call_at(town.hers)
        again: Any = Listener("she")  # it plays a session
        again.id, again.away, again.last_call_id = SessionId("she-again"), False, None
        sessions = {"she-session": hers.person, "she-again": again}
        monkeypatch.setattr(hers.router._hub, "session", sessions.get)
        commit, goes_on = hers.store.commit, asyncio.Event()

        async def slow(*args: Any, **more: Any) -> Any:
            await goes_on.wait()
            return await commit(*args, **more)

        monkeypatch.setattr(hers.store, "commit", slow)
        comes = asyncio.create_task(hers.seating.attach(town.call_id, again))
        await until(call.lock.locked)
        leaves = asyncio.create_task(hers.calls.act(town.call_id, HE, events.HungUp))
        await until(lambda: call.view.state is State.ENDED)
        goes_on.set()
        shown = await comes
        await leaves

        assert shown is not None
        assert shown.state == "connecting"
        assert [ended["requeued"] for ended in again.of("call.ended")] == [True]


async def test_who_is_asked_has_the_time_that_is_stored(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took her hangup, and its answer was given up only a while later: her time did not begin then."""
    async with opened_town(redis_url, MUTUAL) as town:
        commit = town.hers.store.commit

        async def loses_the_answer(*args: Any, **more: Any) -> Any:
            monkeypatch.undo()
            await commit(*args, **more)
            await asyncio.sleep(0.3)
            raise Unavailable

        monkeypatch.setattr(town.hers.store, "commit", loses_the_answer)
        await town.hers.calls.act(town.call_id, SHE, events.HungUp)
        await until(lambda: not town.call_at(town.hers).owed)
        stored = await town.hers.store.load(town.call_id)

        assert stored is not None
        assert [asked["expires_at"] for asked in town.hers.person.of("connect.prompt")] == [
            stored.call.deadline_at
        ]


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
