"""What was told to be over stays over, though the store forgets that it was ever committed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signaling.call import events
from signaling.call.record import ConsentKind
from signaling.call.states import State
from storage.redis.keys import Keys, call_partition
from tests.integration.hub.forgetful_town import HE, SHE, Forgetful, forgetful_town, off
from tests.integration.hub.town import Node


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Forgetful]:
    async with forgetful_town(redis_url) as opened:
        yield opened


async def test_a_revocation_that_the_store_forgot_is_stored_again_before_anything_else(
    town: Forgetful,
) -> None:
    """He asks for more time: on his node the record has video again, and hers never lets it through."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    await town.deliver()
    await town.forget_last(0)
    assert not off(await town.stored())

    await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)

    record = await town.stored()
    assert off(record)
    assert record.extension_request is not None
    said = [event.kind for event in record.events if event.sender == "b"]
    assert said == [ConsentKind.VIDEO_ALLOWED, ConsentKind.VIDEO_REVOKED]
    assert town.hers.metrics.upheld._value.get() == 1


async def test_what_a_node_with_neither_of_them_took_away_is_said_again_after_a_loss(town: Forgetful) -> None:
    """Over REST; the store acknowledges and forgets before either's own node has heard: only that one node knows."""
    third = Node("node-3", "a", town.redis, town.bus)
    serving = asyncio.create_task(third.calls.run())
    await asyncio.sleep(0)
    await third.calls.act(town.call_id, SHE, events.VideoRevoked)
    was_off = off(await town.stored())
    town.bus.way.clear()
    await town.forget_last(0)
    forgotten = off(await town.stored())
    for node in town.nodes:
        await node.calls.vouching.reassert_all()
    still_forgotten = off(await town.stored())

    await third.calls.vouching.restrict_again()

    assert (was_off, forgotten, still_forgotten) == (True, False, False)
    assert off(await town.until(off))
    await town.deliver()
    assert all(off(town.call_at(node).view) for node in town.nodes)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_another_node_that_goes_on_without_it_is_put_right(town: Forgetful) -> None:
    """His node missed the revocation and commits on what the store still has; hers hears of that and takes it back again."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    town.bus.way.clear()
    await town.forget_last(0)
    await town.his.calls.act(town.call_id, HE, events.ExtensionRequested)
    assert town.call_at(town.his).allowance("b").send_video
    await town.deliver()

    assert not town.call_at(town.hers).allowance("a").send_video
    record = await town.until(off)
    assert record.extension_request is None, "a question that only one of the two records knows"
    await town.deliver()
    assert not town.call_at(town.his).allowance("b").send_video
    assert town.his.person.of("video.revoked")


async def test_what_was_given_anew_is_not_taken_back(town: Forgetful) -> None:
    """She revoked, it was forgotten, and put right; her next yes holds."""
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
    await town.forget_last(0)
    await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)
    await asyncio.sleep(0.01)
    await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
    await town.deliver()
    for node in town.nodes:
        await node.calls.vouching.reassert_all()

    assert not off(await town.stored())
    assert all(town.call_at(node).allowance("a").send_video for node in town.nodes)


async def test_an_end_that_the_store_forgot_is_an_end(town: Forgetful) -> None:
    """He was blocked and told so; the record lives again until her node sees it."""
    await town.hers.calls.act(town.call_id, SHE, events.Blocked)
    await town.deliver()
    town.forget()
    await town.forget_last(0)
    assert (await town.stored()).state is State.LIVE

    await town.hers.calls.catch_up(town.call_id)

    assert town.call_at(town.hers).view.state is State.ENDED
    record = await town.until(lambda call: call.state is State.ENDED)
    assert record.reason == "hangup"
    assert town.hers.person.of("call.ended", "video.allowed") == []
    waits = await town.redis.zrange(Keys().calls_ended(call_partition(town.call_id)), 0, -1)
    assert town.call_id.encode() in waits


async def test_a_view_that_changes_keeps_no_session_that_relayed(town: Forgetful) -> None:
    """Sessions have outboxes, and calls are kept for an hour."""
    call = town.call_at(town.hers)
    relayed: Any = object()
    call.ways[relayed] = relayed
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)

    assert call.ways == {}
