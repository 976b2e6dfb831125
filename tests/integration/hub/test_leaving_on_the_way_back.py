"""Who is sent back to the queue and leaves it in the same moment has left, whichever hubs the two are on."""

import asyncio

import pytest

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import Deploy, People

CONFIG = """
[intents.dating]
ip_privacy = "off"
"""
PAIRS = 6


def leaves_at_once(client: Client) -> asyncio.Future[None]:
    """Done when a `queue.leave` was answered that is sent by whoever hears of the end, before anything else is read."""
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def leave() -> None:
        await client.request("queue.leave")
        left.set_result(None)

    def ended(data: Message) -> None:
        assert data["requeued"]
        client.account["leaving"] = asyncio.ensure_future(leave())

    client.handlers["call.ended"] = ended
    return left


@pytest.mark.parametrize("hubs", [1, 2])
async def test_who_leaves_right_after_the_end_has_left(deploy: Deploy, people: People, hubs: int) -> None:
    """He declines; she leaves the moment she hears that she is back: her place does not come back after that."""
    deployment = await deploy(*["serve"] * hubs, "matchmaker", "worker", config=CONFIG)
    urls = [process.public for process in deployment.processes if process.role == "serve"]

    async def decline() -> tuple[str, str]:
        region = people.client(urls[0]).device_id[:12]
        her = await people.online(urls[0], "female", region=region)
        him = await people.online(urls[-1], "male", codec="msgpack", region=region)
        left = leaves_at_once(her)
        wishes = {"intent": "dating", "preferences": {"regions": [region]}}
        place = await her.request("queue.join", wishes)
        await him.request("queue.join", wishes)
        found = await him.wait_for("match.found")
        await her.wait_for("match.found", call_id=found["call_id"])
        await him.request("call.decline", {"call_id": found["call_id"]})
        async with asyncio.timeout(30):
            await left
        await asyncio.sleep(0.5)
        again = await her.request("queue.join", wishes)
        return place["ticket_id"], again["ticket_id"]

    for before, after in await asyncio.gather(*(decline() for _ in range(PAIRS))):
        assert before != after
