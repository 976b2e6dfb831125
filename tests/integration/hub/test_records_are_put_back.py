"""Records that the store has lost: the nodes that know their calls put them back, and grant nothing until then."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from base.errors import Unavailable
from signaling.call import events
from signaling.ports import StoredCall
from tests.contract.calls.call_records import new_id
from tests.integration.hub.forgetful_town import SHE, Forgetful, forgetful_town, off


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Forgetful]:
    async with forgetful_town(redis_url) as opened:
        yield opened


async def test_a_record_that_is_gone_is_put_back(town: Forgetful) -> None:
    """With its timer, its count and its rev: the next change goes on from it, as if nothing had been."""
    await town.redis.flushdb()
    doubts: list[None] = []
    town.hers.calls.upholding.doubt = lambda: doubts.append(None)

    reply = await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)

    assert "until_at" in reply
    assert len(doubts) == 1
    assert (await town.stored()).extension_request is not None
    assert await town.hers.store.due(overdue_ms=-600_000, limit=5) == [town.call_id]
    assert (await town.hers.store.count_by_state())["live"] == 1
    assert town.hers.metrics.merges.labels("nothing")._value.get() == 1


async def test_nodes_that_put_back_different_records_end_with_one(town: Forgetful) -> None:
    """His is one change behind: whoever comes first, both know the newer one in the end, and he hears what he missed."""
    for first, second in ((0, 1), (1, 0)):
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        town.bus.way.clear()
        town.forget()
        await town.redis.flushdb()
        missing = [await town.nodes[each].calls.vouching.reassert_all() for each in (first, second)]
        await town.until(off)
        await town.deliver()

        assert missing[1] == 0
        assert town.call_at(town.hers).stored == town.call_at(town.his).stored
        assert off(town.call_at(town.his).view)
        assert town.his.person.of("video.revoked")
        await asyncio.sleep(0.01)
        await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
        await town.deliver()


async def test_a_node_without_its_seat_vouches_for_nothing(town: Forgetful) -> None:
    """Her device has moved on: what its old node remembers is nobody's any more, until the call is over."""
    call = town.call_at(town.hers)
    hers = call.view.a
    await town.his.calls.decide(
        town.call_at(town.his),
        events.SeatAttached("a", hers.session_id, town.his.id, hers.device_id),
    )
    town.hers.router._hub.listener = None
    await town.redis.flushdb()

    assert await town.hers.calls.vouching.reassert_all() == 0
    assert await town.hers.store.load(town.call_id) is None
    assert await town.his.calls.vouching.reassert_all() == 1


async def test_a_try_that_failed_is_over_before_the_next_one(
    town: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes away in the middle of it is not asked for thousands of calls by each try at the same time."""
    known = town.call_at(town.hers).stored
    for _ in range(200):
        another = msgspec.structs.replace(known.call, call_id=new_id())
        town.hers.local.keep(replace(known, call=another))
    restore, under_way, begun = town.hers.store.restore, 0, 0

    async def away(stored: StoredCall) -> StoredCall | None:
        nonlocal under_way, begun
        under_way, begun = under_way + 1, begun + 1
        try:
            await restore(stored)
            await asyncio.sleep(0.05 if begun > 1 else 0)
            raise Unavailable("the store is away")
        finally:
            under_way -= 1

    monkeypatch.setattr(town.hers.store, "restore", away)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await town.hers.calls.vouching.reassert_all()
        assert under_way == 0
    assert begun == 3 * 201, "none is passed over: those of another primary may be put back"


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_put_back(
    town: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer release may have written it; and the lease does not begin anew for it again and again."""
    known = town.call_at(town.hers).stored
    newer = msgspec.structs.replace(known.call, call_id=new_id())
    town.hers.local.keep(replace(known, call=newer))
    restore = town.hers.store.restore

    async def unreadable(stored: StoredCall) -> StoredCall | None:
        if stored.call.call_id == newer.call_id:
            raise msgspec.ValidationError("a state of tomorrow")
        return await restore(stored)

    monkeypatch.setattr(town.hers.store, "restore", unreadable)
    await town.redis.flushdb()

    assert await town.hers.calls.vouching.reassert_all() == 1
    assert await town.hers.store.load(town.call_id) is not None


async def test_while_the_store_is_put_right_nothing_is_permitted(town: Forgetful) -> None:
    """`unavailable`, with how long it takes; what only takes away goes on."""
    town.hers.calls.restoring = lambda: 1_234

    with pytest.raises(Unavailable) as caught:
        await town.hers.calls.act(town.call_id, SHE, events.ExtensionRequested)
    await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)

    assert caught.value.retry_after_ms == 1_234
    assert off(await town.stored())
