"""What a node knows of a call goes along with the session that leaves it, also where the store knows less."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.record import Call, decode
from signaling.moving_calls import MovingCalls
from storage.redis.keys import Keys
from tests.fixtures.sdp import audio, description
from tests.integration.hub.town import Node, Town, opened_town

SHE = UserId("she")


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """A live call in which both may send video; there is time to stop it."""
    async with opened_town(redis_url, IntentPolicy(revoke_window_s=60)) as opened:
        await opened.hers.calls.act(opened.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
        await opened.deliver()
        yield opened


async def moved(town: Town, to: Node) -> None:
    """Her session goes from her node to another."""
    leaves, comes = (
        MovingCalls(node.router._hub, node.local, node.calls, node.clock) for node in (town.hers, to)
    )
    known = leaves.known(town.call_id, SHE)
    assert known is not None
    comes.take_in(known, decode(known.record), to.person)


def allows_video(call: Call) -> bool:
    return call.a.video_allowed or call.b.video_allowed


async def test_a_revocation_that_the_store_has_lost_moves_along(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told; then the store forgot it. The node that told it gives the session away before it could store it again."""
    key = Keys().call(town.call_id)
    before = await town.redis.dump(key)
    assert before is not None
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    await town.redis.restore(key, 0, before, replace=True)
    with monkeypatch.context() as away:
        away.setattr(town.hers.store, "commit", _unavailable)
        await town.hers.calls.catch_up(town.call_id)
        third = Node("node-3", "a", town.redis, town.bus)
        serving = asyncio.create_task(third.calls.run())
        await asyncio.sleep(0)
        await moved(town, third)
        call = town.call_at(third)
        seen = [allows_video(call.view)]
        async with asyncio.timeout(10):
            while call.lost is not None:
                await asyncio.sleep(0.01)
        stored = await third.store.load(town.call_id)
    serving.cancel()

    assert allows_video(call.view) is False
    assert seen == [False]
    assert stored is not None
    assert not allows_video(stored.call)


async def test_a_call_keeps_no_session_that_has_gone_elsewhere(town: Town) -> None:
    """Its node may know the call for an hour and never hear of a change: sessions have outboxes."""
    call = town.call_at(town.hers)
    town.hers.send(town.offer(9, description(audio())))
    relayed = list(call.ways)
    MovingCalls(town.hers.router._hub, town.hers.local, town.hers.calls, town.hers.clock).departed(call.id)

    assert town.hers.person in relayed
    assert call.ways == {}


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
