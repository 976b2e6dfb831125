"""A woman and a man at a real hub: how they meet, and how their call goes live."""

from loadtests.swarm.client import Client
from tests.compat.talking import go_live, pick_up
from tests.fixtures.deployment import People


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
    """Takes a proposed call to `live`."""
    await pick_up(her, him, call_id)
    await go_live(her, him, call_id)
