"""Two real hubs, each with one side of a call, and a network between them that loses what it should carry."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from loadtests.swarm.client import Client
from tests.fixtures.deployment import Deploy, People, Process, launch
from tests.fixtures.sdp import VOICE
from tests.fixtures.waiting import WAIT_S, until
from tests.integration.bus.losing_proxy import LosingProxy, nothing, pushes

LONG_CALLS = """
[intents.dating]
call_seconds = 120.0
connecting_s = 40.0
reconnecting_s = 30.0
"""
CANDIDATE = {"candidate": "candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host", "mid": "0"}


@dataclass
class Town:
    """Her hub, his hub behind the network that loses things, and the two in a call that is connecting."""

    network: LosingProxy
    her_hub: Process
    his_hub: Process
    her: Client
    him: Client
    call: dict[str, str]

    def lose(self, what: bytes) -> None:
        """From now on publications to his hub with these bytes in them are lost, also when they are sent again."""
        self.network.loses = pushes(":inbox", with_=what)

    def lose_nothing(self) -> None:
        self.network.loses = nothing


@pytest.fixture
async def town(redis_url: str, deploy: Deploy, people: People) -> AsyncIterator[Town]:
    async with LosingProxy(redis_url).running() as network:
        deployment = await deploy("serve", "matchmaker", config=LONG_CALLS)
        environment = {**deployment.environment, "MINUET_REDIS_URL": network.url}
        his_hub = await launch("serve", environment=environment, log=deployment.folder / "his-hub.log")
        deployment.processes.append(his_hub)
        await his_hub.started()
        her_hub = deployment.of("serve")
        her = await people.online(her_hub.public, "female")
        him = await people.online(his_hub.public, "male", codec="msgpack")
        await her.request("queue.join", {"intent": "dating", "preferences": {}})
        await him.request("queue.join", {"intent": "dating", "preferences": {}})
        found = await her.wait_for("match.found")
        call = {"call_id": found["call_id"]}
        await him.wait_for("match.found", **call)
        await her.request("call.accept", call)
        await him.request("call.accept", call)
        await asyncio.gather(
            *(one.wait_for("call.state", state="connecting", **call) for one in (her, him)),
        )
        yield Town(network, her_hub, his_hub, her, him, call)
        await deployment.stop()


async def test_a_relay_whose_publication_is_lost_arrives_all_the_same(town: Town) -> None:
    """Also when nothing follows it: the offer is the last thing that her hub says for a while."""
    town.lose(b"call.offer")
    await town.her.request("call.offer", {**town.call, "negotiation": 1, "sdp": VOICE})
    await until(lambda: town.network.lost)
    town.lose_nothing()
    offer = await town.him.wait_for("call.offer", **town.call)

    assert (offer["negotiation"], offer["sdp"]) == (1, VOICE)
    assert not [message for message in town.him.inbox if message["type"] == "call.reset"]


async def test_relays_keep_their_order_when_one_of_them_is_lost(town: Town) -> None:
    """Candidates that follow a lost offer are not delivered before it."""
    town.lose(b"call.offer")
    await town.her.request("call.offer", {**town.call, "negotiation": 1, "sdp": VOICE})
    await until(lambda: town.network.lost)
    town.lose_nothing()
    await town.her.request(
        "call.candidates",
        {**town.call, "negotiation": 1, "of": "self", "candidates": [CANDIDATE], "complete": True},
    )
    await town.him.wait_until(lambda message: message["type"] == "call.candidates", WAIT_S)

    assert [message["type"] for message in town.him.inbox if message["type"] == "call.offer"] == [
        "call.offer"
    ]


async def test_what_a_killed_hub_lost_resets_the_call_and_it_goes_on_elsewhere(town: Town) -> None:
    """kill -9 while an offer is missing: nobody is left to send it again, so both begin anew, on his hub."""
    town.lose(b"call.offer")
    await town.her.request("call.offer", {**town.call, "negotiation": 1, "sdp": VOICE})
    await town.her.request(
        "call.candidates",
        {**town.call, "negotiation": 1, "of": "self", "candidates": [CANDIDATE], "complete": False},
    )
    await until(lambda: len(town.network.lost) >= 2)
    await town.her_hub.kill()
    town.lose_nothing()
    await town.him.wait_for("call.reset", WAIT_S, **town.call)

    again = Client(town.her._http, town.his_hub.public, device_id=town.her.device_id)
    ready = await again.start(town.her.account["access_token"])
    assert ready["snapshot"]["call"]["call_id"] == town.call["call_id"]
    await again.request("call.offer", {**town.call, "negotiation": 2, "sdp": VOICE})
    offer = await town.him.wait_for("call.offer", **town.call)
    await again.close()

    assert (offer["negotiation"], offer["sdp"]) == (2, VOICE)
