"""Who is sent back to the queue and asks to join in the same moment keeps the place, whichever hubs the two are on."""

import asyncio

import pytest

from loadtests.swarm.client import Message
from tests.fixtures.deployment import Deploy, People
from tests.integration.hub.sent_back import SentBack, pairs_on


@pytest.mark.parametrize("hubs", [1, 2])
async def test_a_join_right_after_the_end_finds_the_old_place(
    deploy: Deploy, people: People, hubs: int
) -> None:
    """He declines; she joins again the moment she hears that she is back: it is the same ticket, as old as before."""

    async def decline(pair: SentBack) -> tuple[Message, Message]:
        answered = pair.at_once(lambda: pair.join(pair.her))
        place = await pair.declined()
        async with asyncio.timeout(30):
            return place, await answered

    pairs = await pairs_on(hubs, deploy, people)
    for place, again in await asyncio.gather(*(decline(pair) for pair in pairs)):
        assert (again["ticket_id"], again["queued_at"]) == (place["ticket_id"], place["queued_at"])
