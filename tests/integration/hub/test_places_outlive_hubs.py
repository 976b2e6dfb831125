"""A hub is killed while its people wait: on another hub each finds the place that they had."""

import uuid

from loadtests.swarm.client import Client
from tests.fixtures.deployment import Deploy, People

CONFIG = """
[intents.dating]
paused_s = 15.0
widen_after_s = [0]
widen_age_years = [0]
"""


async def test_who_comes_back_elsewhere_waits_at_the_old_place(deploy: Deploy, people: People) -> None:
    """The snapshot shows the ticket, nobody has to join again, and nobody who came later goes first."""
    house = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG, MINUET_MAX_LOOP_LAG_S="60")
    first, second = (process for process in house.processes if process.public)
    region = f"town-{uuid.uuid4().hex[:12]}"
    wishes = {"intent": "dating", "preferences": {"regions": [region]}}
    her = await people.online(first.public, "female", region=region)
    joined = await her.request("queue.join", wishes)
    later = await people.online(second.public, "female", region=region)
    await later.request("queue.join", wishes)
    await first.kill()
    again = await _elsewhere(people, second.public, her)
    him = await people.online(second.public, "male", region=region)
    await him.request("queue.join", wishes)
    found = await him.wait_for("match.found")

    assert again.ready["snapshot"]["presence"] == "queued"
    assert again.ready["snapshot"]["ticket"] == {
        "intent": "dating",
        "ticket_id": joined["ticket_id"],
        "queued_at": joined["queued_at"],
    }
    assert await again.wait_for("match.found", call_id=found["call_id"])
    assert [message["type"] for message in later.inbox if message["type"] == "match.found"] == []
    # Where the two part, she waits on with the ticket that her session took over.
    await him.request("call.decline", {"call_id": found["call_id"]})
    ended = await again.wait_for("call.ended", call_id=found["call_id"])
    await again.request("queue.leave")
    assert ended["requeued"]


async def _elsewhere(people: People, hub: str, client: Client) -> Client:
    """The same device, on another hub, with a session of its own."""
    again = people.client(hub, device_id=client.device_id)
    again.account = client.account
    await again.start(client.account["access_token"])
    return again
