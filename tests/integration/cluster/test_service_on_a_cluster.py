"""The whole service on a cluster: two hubs, a matchmaker and a worker, in calm weather and while a primary dies."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from base.errors import ERROR_SPECS, CloseCode, ErrorCode
from loadtests.swarm.client import Client, Closed, RequestRefused
from storage.redis.keys import Keys
from tests.fixtures.cluster import Cluster
from tests.fixtures.deployment import Deployment, People, environment_for
from tests.fixtures.sdp import VOICE

# Long enough for a failover on a busy machine; nobody waits for their end.
CALLS = """
[intents.dating]
call_seconds = 120.0
reconnecting_s = 20.0
"""
PATIENCE_S = 45.0


@dataclass
class Pair:
    """Two strangers in a call, each on another hub."""

    her: Client
    him: Client
    region: str
    """Keeps this pair apart from the others."""
    call_id: str = ""
    negotiation: int = 0

    async def meet(self) -> None:
        wish = {"intent": "dating", "preferences": {"regions": [self.region]}}
        for side in (self.her, self.him):
            await retried(lambda side=side: side.request("queue.join", wish))
        found = await self.her.wait_for("match.found", PATIENCE_S)
        self.call_id = found["call_id"]
        await self.him.wait_for("match.found", PATIENCE_S, call_id=self.call_id)

    async def talk(self) -> None:
        call = {"call_id": self.call_id}
        for side in (self.her, self.him):
            await retried(lambda side=side: side.request("call.accept", call))
        await self.her.wait_for("call.ice_servers", PATIENCE_S)
        await self.negotiate()
        for side in (self.her, self.him):
            await retried(lambda side=side: side.request("call.media", {**call, "state": "connected"}))
        for side in (self.her, self.him):
            await side.wait_for("call.state", PATIENCE_S, state="live")

    async def negotiate(self) -> None:
        """She offers and he answers, over both hubs."""
        self.negotiation += 1
        offer = {"call_id": self.call_id, "negotiation": self.negotiation, "sdp": VOICE}
        await self.her.request("call.offer", offer)
        heard = await self.him.wait_for("call.offer", PATIENCE_S, call_id=self.call_id)
        answer = {"call_id": self.call_id, "negotiation": heard["negotiation"], "of": "peer", "sdp": VOICE}
        await self.him.request("call.answer", answer)
        await self.her.wait_for("call.answer", PATIENCE_S, call_id=self.call_id)

    async def hang_up(self) -> None:
        await retried(lambda: self.her.request("call.hangup", {"call_id": self.call_id}))
        await self.him.wait_for("call.ended", PATIENCE_S, call_id=self.call_id)


@dataclass
class House:
    """The processes, and whoever comes to them."""

    deployment: Deployment
    people: People

    @property
    def hubs(self) -> list[str]:
        return [process.public for process in self.deployment.processes if process.public]

    async def pair(self) -> Pair:
        hers, his = self.hubs
        region = uuid.uuid4().hex[:12]
        her = await self.people.online(hers, "female", region=region)
        him = await self.people.online(his, "male", codec="msgpack", region=region)
        return Pair(her, him, region)

    async def history(self, who: Client) -> list[dict[str, Any]]:
        """The user's calls, once there is one."""
        headers = {"Authorization": f"Bearer {who.account['access_token']}"}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                url = f"{self.hubs[0]}/api/v1/history/interactions"
                async with self.people.http.get(url, headers=headers) as answer:
                    found: list[dict[str, Any]] = (await answer.json())["data"]
                if found:
                    return found
                await asyncio.sleep(0.1)

    async def readiness(self) -> list[int]:
        """What each process says, by its status."""
        return await asyncio.gather(*(self._status(process.admin) for process in self.deployment.processes))

    async def ready(self) -> None:
        """Waits until all say so."""
        async with asyncio.timeout(PATIENCE_S):
            while set(await self.readiness()) != {200}:
                await asyncio.sleep(0.1)

    async def _status(self, admin: str) -> int:
        async with self.people.http.get(f"{admin}/readyz", timeout=aiohttp.ClientTimeout(10)) as answer:
            return answer.status


async def retried(ask: Callable[[], Awaitable[Any]]) -> Any:
    """As a client of ours does: again while the error or close code says so. Any other fails the test."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except RequestRefused as refused:
                assert ERROR_SPECS[ErrorCode(refused.code)].retryable, refused
            except Closed as closed:
                # Of a session that could not be opened just now.
                assert CloseCode(closed.code).may_reconnect, closed
            await asyncio.sleep(0.2)


@pytest.fixture
async def house(
    private_cluster: Cluster, database_url: str, people: People, tmp_path: Path
) -> AsyncIterator[House]:
    folder = tmp_path / "house"
    folder.mkdir()
    environment = environment_for(folder, private_cluster.url, database_url, CALLS, {})
    deployment = Deployment(environment, folder)
    roles = ("serve", "serve", "matchmaker", "worker")
    try:
        await deployment.start_all(*(f"{role} --redis-cluster" for role in roles))
        house = House(deployment, people)
        await house.ready()
        yield house
    finally:
        await deployment.stop()


async def test_strangers_on_two_hubs_meet_and_talk_and_it_is_remembered(house: House) -> None:
    """Queue, match, call, relays between the hubs, goodbye, history: over three primaries."""
    pairs = [await house.pair() for _ in range(3)]
    for pair in pairs:
        await pair.meet()
        await pair.talk()
        await pair.negotiate()
        await pair.hang_up()

    for pair in pairs:
        assert [one["call_id"] for one in await house.history(pair.her)] == [pair.call_id]
        assert [one["call_id"] for one in await house.history(pair.him)] == [pair.call_id]


async def test_calls_outlive_a_primary_and_people_meet_again_after_it(
    house: House, private_cluster: Cluster
) -> None:
    """The primary of the queue dies: calls go on, errors are retryable only, readiness tells, new calls are made."""
    pairs = [await house.pair() for _ in range(6)]
    for pair in pairs:
        await pair.meet()
        await pair.talk()
    killed = await private_cluster.primary_of(Keys().tickets("dating"))

    await private_cluster.kill(killed)
    while_away = await house.readiness()
    requests = [
        asyncio.create_task(
            retried(lambda pair=pair: pair.him.request("video.request", {"call_id": pair.call_id}))
        )
        for pair in pairs
    ]
    # Relays of one call are between its hubs, and need no store.
    await pairs[0].negotiate()
    newcomers = await asyncio.gather(*(retried(house.pair) for _ in range(2)))
    await private_cluster.failed_over(killed)
    await asyncio.gather(*requests)
    for pair in pairs:
        await pair.her.wait_for("video.requested", PATIENCE_S, call_id=pair.call_id)
        await pair.negotiate()
    for pair in newcomers:
        await pair.meet()
        await pair.talk()
    await house.ready()
    for pair in (*pairs, *newcomers):
        await pair.hang_up()

    assert set(while_away) == {503}
    for pair in (*pairs, *newcomers):
        assert [one["call_id"] for one in await house.history(pair.her)] == [pair.call_id]
