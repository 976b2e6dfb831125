"""Video was taken back and that waits for the store: it takes back what was allowed then, no less and no more."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import UserId
from base.policy import Control, IntentPolicy
from signaling.call import events
from signaling.call.record import Call
from signaling.call.states import Seat
from signaling.owed_commands import OwedCommands
from tests.fixtures.waiting import until
from tests.integration.hub.town import Node, Town, opened_town

SHE, HE = UserId("she"), UserId("he")


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """She decides, and has allowed video both ways; there is time to stop it."""
    async with opened_town(redis_url, IntentPolicy(revoke_window_s=60)) as opened:
        await opened.hers.calls.act(opened.call_id, SHE, both)
        await opened.deliver()
        yield opened


def both(seat: Seat) -> events.Event:
    return events.VideoApproved(seat, "both")


def receive(seat: Seat) -> events.Event:
    return events.VideoApproved(seat, "receive")


def allowed(call: Call) -> tuple[bool, bool]:
    return call.a.video_allowed, call.b.video_allowed


async def settled(town: Town, node: Node) -> Call:
    """The record, when a node owes nothing any more."""
    await until(lambda: not town.call_at(node).owed)
    await until(lambda: town.call_at(node).lost is None)
    stored = await node.store.load(town.call_id)
    assert stored is not None
    return stored.call


async def test_only_to_receive_gives_nothing_that_was_taken_back_since(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She took her own video back; by the time that this is stored he has taken back his."""
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, receive)
        await town.his.calls.act(town.call_id, HE, events.VideoRevoked)
    call = await settled(town, town.hers)

    assert allowed(call) == (False, False)


async def test_only_to_receive_holds_where_both_say_so(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes back the own video; that nobody has asked for the other's makes neither void."""
    policy = IntentPolicy(control=Control.MUTUAL, revoke_window_s=60)
    async with opened_town(redis_url, policy) as town:
        await town.his.calls.act(town.call_id, HE, events.VideoRequested)
        await town.deliver()
        await town.hers.calls.act(town.call_id, SHE, both)
        await town.deliver()
        before = allowed(town.call_at(town.his).view)
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, receive)
            await town.his.calls.act(town.call_id, HE, receive)
        call = await settled(town, town.hers)

        assert before == (True, True)
        assert allowed(call) == (False, False)


async def test_a_revocation_whose_answer_was_lost_takes_nothing_that_was_given_since(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the store, where she found it and has allowed video anew."""
    commit = town.his.store.commit

    async def loses_the_answer(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(town.his.store, "commit", _unavailable)
        await commit(*args, **more)
        raise Unavailable

    monkeypatch.setattr(town.his.store, "commit", loses_the_answer)
    await town.his.calls.act(town.call_id, HE, events.VideoRevoked)
    await asyncio.sleep(0.01)
    await town.hers.calls.catch_up(town.call_id)
    revoked = allowed(town.call_at(town.hers).view)
    await town.hers.calls.act(town.call_id, SHE, both)
    monkeypatch.setattr(town.his.store, "commit", commit)
    call = await settled(town, town.his)

    assert revoked == (False, False)
    assert allowed(call) == (True, True)


async def test_a_revocation_takes_what_was_given_before_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of something else that is stored in between is no new yes."""
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        await town.his.calls.act(town.call_id, HE, events.ExtensionRequested)
        await town.his.calls.act(town.call_id, HE, events.VideoRevoked)
        await town.his.calls.decide(town.call_at(town.his), events.VideoStopped())
    call = await settled(town, town.hers)

    assert allowed(call) == (False, False)
    assert (call.a.video_off_at, call.b.video_off_at) == (None, None), "what had stopped was to stop again"


async def test_a_yes_after_a_revocation_that_waits_waits_too(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the record video is allowed still, and `ok` would be said for nothing."""
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        with pytest.raises(Unavailable):
            await town.hers.calls.act(town.call_id, SHE, both)
    before = allowed(await settled(town, town.hers))
    await town.hers.calls.act(town.call_id, SHE, both)

    assert before == (False, False)
    assert allowed(town.call_at(town.hers).view) == (True, True)


async def test_who_took_video_back_is_not_told_that_it_is_allowed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He asks again in the moment in which his revocation waits: it can be asked when that is stored."""
    with monkeypatch.context() as away:
        away.setattr(town.his.store, "commit", _unavailable)
        await town.his.calls.act(town.call_id, HE, events.VideoRevoked)
        with pytest.raises(Unavailable):
            await town.his.calls.act(town.call_id, HE, events.VideoRequested)
    await settled(town, town.his)
    await town.his.calls.act(town.call_id, HE, events.VideoRequested)

    assert town.call_at(town.his).view.video_request is not None


async def test_a_revocation_by_rest_that_waited_takes_nothing_that_was_given_since(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that she asked had lost the store; on the one that has her session she has allowed video anew by then."""
    third = Node("node-3", "a", town.redis, town.bus)
    owed = OwedCommands(third.calls, third.clock)
    with monkeypatch.context() as away:
        away.setattr(third.store, "load", _unavailable)
        kept = await owed.act(town.call_id, SHE, events.VideoRevoked) is None
        await asyncio.sleep(0.01)
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        await asyncio.sleep(0.01)  # of one millisecond, the revocation counts
        await town.hers.calls.act(town.call_id, SHE, both)
    await owed.try_all()
    call = await settled(town, town.hers)

    assert kept
    assert len(owed) == 0
    assert allowed(call) == (True, True)


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
