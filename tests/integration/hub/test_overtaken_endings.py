"""An end that was told before it was stored, and another one that was stored first: both take the same version."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.record import Call
from signaling.ports import StoredCall
from storage.redis.calls import RedisCallStore
from storage.redis.keys import Keys
from tests.integration.hub.town import Town, opened_town

SHE, HE = UserId("she"), UserId("he")


class CutOff(RedisCallStore):
    """The real store, behind a link that the test can cut."""

    is_cut = False

    async def commit(self, before: StoredCall, call: Call, **more: Any) -> StoredCall | None:
        if self.is_cut:
            raise Unavailable
        return await super().commit(before, call, **more)


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    async with opened_town(redis_url, IntentPolicy(decide_after_s=0)) as opened:
        yield opened


@pytest.mark.parametrize("arrives_first", [True, False], ids=["heard", "found in the store"])
async def test_whoever_was_told_a_pause_hears_the_end_that_was_stored_instead(
    town: Town, arrives_first: bool
) -> None:
    """She hangs up while her node is cut off, and is asked to decide; he blocks her elsewhere, which ends it at once."""
    cut = town.hers.calls._store = town.hers.calls.upholding._store = CutOff(town.redis, Keys())
    cut.is_cut = True
    await town.hers.calls.act(town.call_id, SHE, events.HungUp)
    await town.his.calls.act(town.call_id, HE, events.Blocked)
    if arrives_first:
        await town.deliver()
    cut.is_cut = False
    async with asyncio.timeout(10):
        while town.call_at(town.hers).owed:
            await asyncio.sleep(0.02)
    await town.deliver()

    seen = [(state["state"], state["version"]) for state in town.hers.person.of("call.state")]
    assert [state for state, _ in seen] == ["deciding", "ended"]
    assert seen[0][1] < seen[1][1], "clients take no state that is not newer"
    assert len(town.hers.person.of("call.ended")) == 1
    assert town.hers.person.call_id is None
