"""Who is sent back to the queue and leaves it in the same moment has left, whichever hubs the two are on."""

import asyncio

import pytest

from tests.fixtures.deployment import Deploy, People
from tests.integration.hub.sent_back import SentBack, pairs_on


@pytest.mark.parametrize("hubs", [1, 2])
async def test_who_leaves_right_after_the_end_has_left(deploy: Deploy, people: People, hubs: int) -> None:
    """He declines; she leaves the moment she hears that she is back: her place does not come back after that."""

    async def decline(pair: SentBack) -> tuple[str, str]:
        left = pair.at_once(lambda: pair.her.request("queue.leave"))
        place = await pair.declined()
        async with asyncio.timeout(30):
            await left
        await asyncio.sleep(0.5)
        again = await pair.join(pair.her)
        return place["ticket_id"], again["ticket_id"]

    pairs = await pairs_on(hubs, deploy, people)
    for before, after in await asyncio.gather(*(decline(pair) for pair in pairs)):
        assert before != after
