"""Who is sent back to the queue and asks to join in the same moment keeps the place, whichever hubs the two are on."""

import asyncio

import pytest

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import Deploy, People

CONFIG = """
[intents.dating]
ip_privacy = "off"
"""
PAIRS = 6


async def joins_at_once(client: Client) -> asyncio.Future[Message]:
    """The answer to a join that is sent by whoever hears of the end, before anything else is read."""
    answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def join() -> None:
        try:
            wishes = client.account["wishes"]
            answered.set_result(
                await client.request("queue.join", {"intent": "dating", "preferences": wishes})
            )
        except Exception as error:
            answered.set_exception(error)

    def ended(data: Message) -> None:
        assert data["requeued"]
        client.account["joining"] = asyncio.ensure_future(join())

    client.handlers["call.ended"] = ended
    return answered


@pytest.mark.parametrize("hubs", [1, 2])
async def test_a_join_right_after_the_end_finds_the_old_place(
    deploy: Deploy, people: People, hubs: int
) -> None:
    """He declines; she joins again the moment she hears that she is back: it is the same ticket, as old as before."""
    deployment = await deploy(*["serve"] * hubs, "matchmaker", "worker", config=CONFIG)
    urls = [process.public for process in deployment.processes if process.role == "serve"]
    pairs = []
    for _ in range(PAIRS):
        region = people.client(urls[0]).device_id[:12]
        her = await people.online(urls[0], "female", region=region)
        him = await people.online(urls[-1], "male", codec="msgpack", region=region)
        for client in (her, him):
            client.account["wishes"] = {"regions": [region]}
        pairs.append((her, him, await joins_at_once(her)))

    async def decline(
        her: Client, him: Client, answered: "asyncio.Future[Message]"
    ) -> tuple[Message, Message]:
        wishes = {"intent": "dating", "preferences": her.account["wishes"]}
        place = await her.request("queue.join", wishes)
        await him.request("queue.join", wishes)
        found = await him.wait_for("match.found")
        await her.wait_for("match.found", call_id=found["call_id"])
        await him.request("call.decline", {"call_id": found["call_id"]})
        async with asyncio.timeout(30):
            return place, await answered

    for place, again in await asyncio.gather(*(decline(*pair) for pair in pairs)):
        assert (again["ticket_id"], again["queued_at"]) == (place["ticket_id"], place["queued_at"])
