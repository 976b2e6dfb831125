"""Sessions that come back on another node than the one they left: two hubs, real sockets, one Redis."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from loadtests.swarm.client import Client, RequestRefused
from tests.e2e.scripted import Pair, match, pair_up
from tests.e2e.waiting import metrics
from tests.fixtures.deployment import Lasting, People
from tests.fixtures.sdp import VOICE, audio, description, video

CONFIG = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.0
deciding_s = 30.0
reconnecting_s = 10.0
ip_privacy = "off"
[intents.friends]
proposed_s = 30
paused_s = 10
ip_privacy = "off"
"""
WITH_VIDEO = description(audio(), video())


@dataclass(frozen=True)
class TwoHubs:
    """Where the two listen."""

    first: str
    second: str
    first_admin: str
    second_admin: str


@pytest.fixture(scope="module")
def hubs(lasting: Lasting) -> Iterator[TwoHubs]:
    with lasting("serve", "serve", "matchmaker", config=CONFIG) as deployment:
        first, second = (process for process in deployment.processes if process.role == "serve")
        yield TwoHubs(first.public, second.public, first.admin, second.admin)


def turn_to(client: Client, url: str) -> None:
    """Lets a client's next socket go to another node."""
    client._url = url.replace("http", "ws", 1) + "/v1/ws"


async def move(client: Client, url: str) -> str:
    """The client loses its network and comes back on another node; the type of the answer."""
    await client.drop()
    turn_to(client, url)
    answer = await client.resume(client.account["access_token"])
    return str(answer["type"])


async def test_a_session_goes_on_where_its_client_comes_back(hubs: TwoHubs, people: People) -> None:
    """What it had not read comes first, in order and once; the numbers of its requests go on."""
    her = await people.online(hubs.first)
    await her.request("queue.join", {"intent": "friends", "preferences": {"regions": ["nobody"]}})
    asked = her.wire.next_id()
    await her.drop()
    turn_to(her, hubs.second)
    answer = await her.resume(her.account["access_token"])
    last_id = answer["data"]["last_id"]
    left = await her.request("queue.leave")

    assert answer["type"] == "session.resumed"
    assert last_id == asked - 1
    assert left == {}
