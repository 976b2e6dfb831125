"""Being away goes along with a session: its place is kept on the node where it is now."""

import asyncio
from collections.abc import Iterator

import pytest

from loadtests.swarm.client import Client
from tests.e2e.scripted import pair_up
from tests.fixtures.deployment import Deployment, Lasting, People

CONFIG = """
[intents.dating]
proposed_s = 20.0
paused_s = 2.0
away_s = 60.0
"""
LONGER_THAN_A_PAUSE_S = 5.0


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "serve", "matchmaker", "worker", config=CONFIG) as deployment:
        yield deployment


async def come_back_at(client: Client, url: str) -> str:
    """The type of what answers the resume."""
    await client.drop()
    client._url = url.replace("http", "ws", 1) + "/v1/ws"
    answer = await client.resume(client.account["access_token"])
    return str(answer["type"])


async def test_a_place_that_comes_back_from_a_call_is_kept_where_she_is_now(
    house: Deployment, people: People
) -> None:
    """She was away and moved while the call was proposed; he declines, and she is away for longer than a pause lasts."""
    here, there = (process.public for process in house.processes if process.public)
    pair = await pair_up(people, here)
    await pair.her.request("presence.set", {"away": True})
    came = await come_back_at(pair.her, there)
    await pair.him.request("call.decline", pair.call)
    ended = await pair.her.wait_for("call.ended", **pair.call)
    await asyncio.sleep(LONGER_THAN_A_PAUSE_S)
    await pair.her.request("presence.set", {"away": False})
    with pytest.raises(TimeoutError):
        await pair.her.wait_for("queue.left", timeout_s=1.0)

    assert came == "session.resumed"
    assert ended["requeued"]
