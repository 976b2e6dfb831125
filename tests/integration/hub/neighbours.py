"""People who meet nobody but each other, on a deployment that many tests share."""

import uuid

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import Deployment, People


class Neighbours:
    """Those of one region, which nobody else wishes for."""

    def __init__(self, house: Deployment, people: People) -> None:
        self.house, self.people = house, people
        self.hubs = [process.public for process in house.processes if process.public]
        self.region = f"town-{uuid.uuid4().hex[:12]}"

    async def he(self, hub: str) -> Client:
        return await self.people.online(hub, "male", region=self.region)

    async def she(self, hub: str) -> Client:
        return await self.people.online(hub, "female", codec="msgpack", region=self.region)

    async def join(self, client: Client, intent: str = "dating") -> Message:
        preferences = {"regions": [self.region]}
        return await client.request("queue.join", {"intent": intent, "preferences": preferences})
