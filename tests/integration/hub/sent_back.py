"""A woman who is sent back to the queue, since the man with whom she was matched declines."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import Deploy, People

T = TypeVar("T")

CONFIG: Final = """
[intents.dating]
ip_privacy = "off"
"""
PAIRS: Final = 6
"""So many at once: what comes in which order is another with each."""


@dataclass
class SentBack:
    """She queues, on a hub that may be his, too."""

    her: Client
    him: Client
    region: str

    async def join(self, client: Client) -> Message:
        wishes = {"intent": "dating", "preferences": {"regions": [self.region]}}
        return await client.request("queue.join", wishes)

    async def declined(self) -> Message:
        """The place in the queue that she had when they were matched and he declined."""
        place = await self.join(self.her)
        await self.join(self.him)
        found = await self.him.wait_for("match.found")
        await self.her.wait_for("match.found", call_id=found["call_id"])
        await self.him.request("call.decline", {"call_id": found["call_id"]})
        return place

    def at_once(self, act: Callable[[], Awaitable[T]]) -> "asyncio.Future[T]":
        """What comes of something that she does when she hears of the end, before anything else is read."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def do() -> None:
            try:
                done.set_result(await act())
            except Exception as error:
                done.set_exception(error)

        def ended(data: Message) -> None:
            assert data["requeued"]
            self.her.account["acting"] = asyncio.ensure_future(do())

        self.her.handlers["call.ended"] = ended
        return done


async def pairs_on(hubs: int, deploy: Deploy, people: People) -> list[SentBack]:
    """Each of a region of its own; on two hubs the two are not on the same."""
    deployment = await deploy(*["serve"] * hubs, "matchmaker", "worker", config=CONFIG)
    urls = [process.public for process in deployment.processes if process.role == "serve"]
    pairs = []
    for _ in range(PAIRS):
        region = people.client(urls[0]).device_id[:12]
        her = await people.online(urls[0], "female", region=region)
        him = await people.online(urls[-1], "male", codec="msgpack", region=region)
        pairs.append(SentBack(her, him, region))
    return pairs
