"""An end was told and waits for the store, and somebody else's change is stored first: what was told holds all the same."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import CallId, DeviceId, IdFactory, NodeId, SessionId, UserId
from base.policy import Control, Gender, IntentPolicy
from matchmaker.matches import Match
from signaling.call import events
from signaling.call.record import Call, decode
from signaling.call.states import EndReason, State
from signaling.moving_calls import MovingCalls
from tests.fixtures.waiting import until
from tests.integration.hub.town import Listener, Node, Town, opened_town, seat_at

SHE, HE = UserId("she"), UserId("he")
MUTUAL = IntentPolicy(control=Control.MUTUAL, decide_after_s=0)


@asynccontextmanager
async def rung(redis_url: str, *, his_node: NodeId | None = None) -> AsyncIterator[Town]:
    """Both were matched, and nobody has answered; he is on a node of his own unless on `his_node`."""
    town = Town(redis_url)
    async with town.running():
        hers, his = town.hers, town.his
        match = Match(
            call_id=CallId(IdFactory(hers.clock.now_ms, secrets.token_bytes).new()),
            intent="dating",
            claimed_at_ms=hers.clock.now_ms(),
            a=seat_at(hers.id, "she", Gender.FEMALE),
            b=seat_at(his_node or his.id, "he", Gender.MALE),
        )
        town.call_id = match.call_id
        for node in (hers, his):
            assert await node.calls.open(match, MUTUAL) is not None
            node.person.id = SessionId(f"{node.person.user_id}-session")
            node.person.enter_call(match.call_id)
        yield town


async def stored(town: Town, fits: Callable[[Call], bool]) -> Call:
    """The record, once it is as the test wants it."""
    async with asyncio.timeout(10):
        while True:
            record = await town.hers.store.load(town.call_id)
            assert record is not None
            if fits(record.call):
                return record.call
            await asyncio.sleep(0.02)


def is_over(call: Call) -> bool:
    return call.state is State.ENDED


async def test_a_no_holds_though_the_other_takes_the_call_first(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She had said yes, changed her mind and was told the end; his yes, stored before, makes no call of it."""
    async with rung(redis_url) as town:
        await town.hers.calls.act(town.call_id, SHE, events.Accepted)
        await town.deliver()
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, events.Declined)
            await town.his.calls.act(town.call_id, HE, events.Accepted)
        call = await stored(town, is_over)
        await until(lambda: _has_heard(town, "call.ended"))

        assert call.reason is EndReason.DECLINED
        assert (call.a.requeued, call.b.requeued) == (False, True)
        assert len(town.hers.person.of("call.ended")) == 1
        assert [ended["requeued"] for ended in town.his.person.of("call.ended")] == [True]


async def test_who_was_told_that_the_other_has_gone_is_not_left_in_the_call(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her session ended while the store was away, and he heard it; her page, loaded anew elsewhere, is there first."""
    async with rung(redis_url, his_node=NodeId("node-1")) as town:
        he = Listener("he")
        he.enter_call(town.call_id)
        sessions = {"she-session": town.hers.person, "he-session": he}
        monkeypatch.setattr(town.hers.router._hub, "session", sessions.get)
        call = town.call_at(town.hers)
        for event in (
            events.Accepted("a"),
            events.Accepted("b"),
            events.MediaConnected("a", answer_relayed=True),
            events.MediaConnected("b", answer_relayed=True),
        ):
            await town.hers.calls.decide(call, event)
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.decide(call, events.SessionEnded("a", SessionId("she-session")))
            elsewhere = await town.his.calls.stored(town.call_id)
            assert elsewhere is not None
            again = events.SeatAttached("a", SessionId("she-again"), town.his.id, DeviceId("she-phone"))
            await town.his.calls.decide(elsewhere, again)
        await until(lambda: not call.owed)
        record = await stored(town, lambda record: record.state is State.DECIDING)

        assert record.closed_for is EndReason.HANGUP
        assert len(he.of("connect.prompt")) == 1
        assert {state["state"] for state in he.of("call.state")[-1:]} == {"deciding"}


async def test_a_call_whose_time_was_told_to_be_up_does_not_go_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More time had been agreed to on his node, and hers had not heard of it when its clock asked her to decide."""
    policy = IntentPolicy(control=Control.MUTUAL, decide_after_s=0, call_seconds=2)
    async with opened_town(redis_url, policy) as town:
        await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)
        await town.deliver()
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.his.calls.act(town.call_id, HE, lambda seat: events.ExtensionAnswered(seat, True))
            await until(lambda: town.hers.person.of("connect.prompt"))
            longer = town.call_at(town.his).stored.call
        call = await stored(town, lambda record: record.state is not State.LIVE)
        await until(lambda: not town.call_at(town.hers).owed)
        await until(lambda: _has_heard(town, "connect.prompt"))

        assert longer.extensions == 1
        assert call.state is State.DECIDING
        assert call.closed_at is not None
        assert longer.ends_at is not None
        assert call.closed_at < longer.ends_at
        assert len(town.hers.person.of("connect.prompt")) == 1
        assert len(town.his.person.of("connect.prompt")) == 1


async def test_what_is_owed_survives_a_failure_that_nobody_thought_of(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told must be stored, and what waits behind it has its turn."""
    async with opened_town(redis_url, MUTUAL) as town:
        commit = town.hers.store.commit
        failed = 0

        async def fails_once(*args: Any, **more: Any) -> Any:
            nonlocal failed
            failed += 1
            if failed == 1:
                raise RuntimeError("not one of ours")
            return await commit(*args, **more)

        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, events.HungUp)
            await town.hers.calls.act(town.call_id, SHE, events.ConnectPassed)
        monkeypatch.setattr(town.hers.store, "commit", fails_once)
        call = await stored(town, is_over)

        assert failed > 1
        assert call.reason is EndReason.COMPLETED


async def test_who_was_asked_is_not_shown_the_talk_again_on_another_node(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her hangup was told and waits; her session moves, and what others stored meanwhile is no news to her there."""
    async with opened_town(redis_url, MUTUAL) as town:
        third = Node("node-3", "a", town.redis, town.bus)
        third.router.welcome(SessionId("she-session"))
        third.person.enter_call(town.call_id)
        third.person.run_soon = third._run_soon
        serving = asyncio.create_task(third.calls.run())
        await asyncio.sleep(0)
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            away.setattr(third.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, events.HungUp)
            _move_her(town, third)
            await third.settle()
            for event in (events.MediaDisconnected("b"), events.MediaConnected("b", answer_relayed=True)):
                await town.his.calls.decide(town.call_at(town.his), event)
            await third.calls.catch_up(town.call_id)
        await stored(town, lambda record: record.state is State.DECIDING)
        await until(lambda: not town.call_at(third).owed and not town.call_at(third).bound)
        serving.cancel()

        assert not third.person.of("connect.prompt")
        assert {state["state"] for state in third.person.of("call.state")} <= {"deciding"}


async def _has_heard(town: Town, kind: str) -> bool:
    """Whether he was told, which is said a moment after it is stored."""
    await town.deliver()
    return bool(town.his.person.of(kind))


def _move_her(town: Town, to: Node) -> None:
    leaves, comes = (
        MovingCalls(node.router._hub, node.local, node.calls, node.clock) for node in (town.hers, to)
    )
    known = leaves.known(town.call_id, SHE)
    assert known is not None
    comes.take_in(known, decode(known.record), to.person)


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
