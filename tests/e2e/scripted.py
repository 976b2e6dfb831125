"""Couples without media: they queue, negotiate with canned descriptions and say what a page would say."""

import asyncio
from dataclasses import dataclass

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import People
from tests.fixtures.sdp import VOICE


@dataclass
class Pair:
    """Two people in one call."""

    her: Client
    him: Client
    call_id: str

    @property
    def call(self) -> Message:
        return {"call_id": self.call_id}

    @property
    def both(self) -> tuple[Client, Client]:
        return self.her, self.him

    async def talk(self) -> int:
        """From proposed to live. Returns: when the clock ends, Unix ms."""
        for side in self.both:
            await side.request("call.accept", self.call)
        for side in self.both:
            await side.wait_for("call.ice_servers", **self.call)
        await self.negotiate(self.her, self.him, 1)
        return await self.go_live()

    async def go_live(self) -> int:
        """Both say that media flows. Returns: when the clock ends, Unix ms."""
        for side in self.both:
            await side.request("call.media", {**self.call, "state": "connected"})
        views = [await side.wait_for("call.state", **self.call, state="live") for side in self.both]
        ends_at: int = views[0]["ends_at"]
        return ends_at

    async def negotiate(self, offerer: Client, answerer: Client, number: int, sdp: str = VOICE) -> None:
        """An offer and its answer go through."""
        await offerer.request("call.offer", {**self.call, "negotiation": number, "sdp": sdp})
        await answerer.wait_for("call.offer", **self.call, negotiation=number)
        answer = {**self.call, "negotiation": number, "of": "peer", "sdp": sdp}
        await answerer.request("call.answer", answer)
        await offerer.wait_for("call.answer", **self.call, negotiation=number)


async def pair_up(people: People, url: str, intent: str = "dating") -> Pair:
    """A woman and a man who meet nobody else: each pair has a region of its own. The woman offers."""
    region = people.client(url).device_id[:12]
    her, him = await asyncio.gather(
        people.online(url, "female", region=region),
        people.online(url, "male", codec="msgpack", region=region),
    )
    return await match(her, him, intent, {"regions": [region]})


async def match(her: Client, him: Client, intent: str, preferences: Message) -> Pair:
    """Lets two who are signed in find each other."""
    for side in (her, him):
        await side.request("queue.join", {"intent": intent, "preferences": preferences})
    found = await her.wait_for("match.found")
    await him.wait_for("match.found", call_id=found["call_id"])
    return Pair(her, him, found["call_id"])
