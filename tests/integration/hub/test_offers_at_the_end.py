"""Offers that are open when media is over: nobody hears of them again."""

import asyncio

import pytest

from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.states import State
from tests.fixtures.sdp import VOICE
from tests.fixtures.waiting import until
from tests.integration.hub.town import Town


@pytest.mark.parametrize("ends", [True, False], ids=["over", "going on"])
async def test_an_open_offer_runs_out_only_while_the_call_goes_on(redis_url: str, ends: bool) -> None:
    """Both are told that it failed, or, where she has hung up meanwhile, nothing."""
    town = Town(redis_url)

    def told() -> list[int]:
        return [len(node.person.of("call.negotiation_failed")) for node in (town.hers, town.his)]

    serving = [asyncio.create_task(node.calls.run()) for node in (town.hers, town.his)]
    await asyncio.sleep(0)
    for node in (town.hers, town.his):
        node.calls.watch.expire_offers = node.relays.expire
    await town.connecting_call(IntentPolicy(negotiation_s=2))
    await town.go_live()

    town.his.send(town.offer(2, VOICE))
    await town.deliver()
    if ends:
        await town.hers.calls.act(town.call_id, UserId("she"), events.HungUp)
        await town.deliver()
        await asyncio.sleep(3.0)
    else:
        await until(lambda: told() == [1, 1])
    over = [town.call_at(node).view.state is State.ENDED for node in (town.hers, town.his)]
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await town.redis.aclose()

    assert over == [ends, ends]
    assert told() == ([0, 0] if ends else [1, 1])
