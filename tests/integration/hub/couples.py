"""A woman and a man at a real hub: how they meet, and how their call goes live."""

import asyncio

from loadtests.swarm.client import Client
from tests.fixtures.deployment import People
from tests.fixtures.sdp import VOICE


async def meet(people: People, hub: str, intent: str = "dating") -> tuple[Client, Client, str]:
    """A woman and a man in a proposed call."""
    region = people.client(hub).device_id[:12]  # keeps this pair apart from other tests' leftovers
    her = await people.online(hub, "female", region=region)
    him = await people.online(hub, "male", codec="msgpack", region=region)
    await her.request("queue.join", {"intent": intent, "preferences": {"regions": [region]}})
    him.account["place"] = await him.request(
        "queue.join", {"intent": intent, "preferences": {"regions": [region]}}
    )
    found = await her.wait_for("match.found")
    await him.wait_for("match.found", call_id=found["call_id"])
    return her, him, found["call_id"]


async def talk(her: Client, him: Client, call_id: str) -> None:
    """Takes a proposed call to `live`; she sits on seat a, since she queued first."""
    call = {"call_id": call_id}
    await her.request("call.accept", call)
    await him.request("call.accept", call)
    await her.wait_for("call.ice_servers")
    await negotiate(her, him, call_id, 1, VOICE)
    await her.request("call.media", {**call, "state": "connected"})
    await him.request("call.media", {**call, "state": "connected"})
    await asyncio.gather(her.wait_for("call.state", state="live"), him.wait_for("call.state", state="live"))


async def negotiate(offerer: Client, answerer: Client, call_id: str, number: int, sdp: str) -> None:
    await offerer.request("call.offer", {"call_id": call_id, "negotiation": number, "sdp": sdp})
    offer = await answerer.wait_for("call.offer", call_id=call_id)
    assert offer["sdp"] == sdp
    answer = {"call_id": call_id, "negotiation": offer["negotiation"], "of": "peer", "sdp": sdp}
    await answerer.request("call.answer", answer)
    answered = await offerer.wait_for("call.answer", call_id=call_id)
    assert (answered["negotiation"], answered["of"]) == (number, "self")
