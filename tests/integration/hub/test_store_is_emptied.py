"""Redis loses everything in the middle of an evening, on two hubs: nobody is thrown out, and places stay what they were.

Nothing here may be told to anybody but what says "try again".
"""

import asyncio
import shutil
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from loadtests.swarm.client import Client, Message, RequestRefused
from minuet.embedded import EmbeddedValkey
from tests.fixtures.deployment import Deploy, Deployment, People

CONFIG = """
[intents.dating]
proposed_s = 20.0
call_seconds = 12.0
decide_after_s = 1.0
deciding_s = 20.0
paused_s = 20.0
widen_after_s = [0]
widen_age_years = [0]
"""
SETTLED_S = 30.0
"""How long an evening may take to be as it was, on a machine that has much else to do."""

Lose = Callable[[], Awaitable[None]]


class Evening:
    """Two hubs, a matchmaker and a worker, and people who meet nobody but each other."""

    def __init__(self, house: Deployment, people: People) -> None:
        self.here, self.there = (process.public for process in house.processes if process.public)
        self.house, self.people = house, people
        self.region = f"town-{uuid.uuid4().hex[:12]}"
        self.admins = [process.admin for process in house.processes]

    async def she(self, hub: str) -> Client:
        return await self.people.online(hub, "female", region=self.region)

    async def he(self, hub: str) -> Client:
        return await self.people.online(hub, "male", codec="msgpack", region=self.region)

    async def join(self, client: Client) -> Message:
        request = {"intent": "dating", "preferences": {"regions": [self.region]}}
        return await patiently(client, "queue.join", request)

    async def restored(self, before: float = 0) -> None:
        """Returns when every process has noticed a loss, and grants again."""
        async with asyncio.timeout(SETTLED_S):
            while True:
                counts = await asyncio.gather(*map(self._restorations, self.admins))
                if all(noticed > before and seconds > 0 for noticed, seconds in counts):
                    return
                await asyncio.sleep(0.1)

    async def put_back(self, kind: str) -> float:
        """How many of a kind all processes have put back."""
        name = f'minuet_put_back_total{{kind="{kind}"}}'
        return sum([(await self._metrics(admin)).get(name, 0.0) for admin in self.admins])

    async def _restorations(self, admin: str) -> tuple[float, float]:
        metrics = await self._metrics(admin)
        return metrics["minuet_restorations_total"], metrics["minuet_restoring_seconds_total"]

    async def _metrics(self, admin: str) -> dict[str, float]:
        async with self.people.http.get(f"{admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name.replace(',role="hub"', ""): float(value) for name, value in pairs}


async def patiently(client: Client, type_: str, data: Message | None = None) -> Message:
    """Asks until it is granted; any refusal that does not say "try again" is a failure."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            try:
                return await client.request(type_, data)
            except RequestRefused as refused:
                assert refused.code == "unavailable", refused
                assert refused.data["retryable"]
                await asyncio.sleep(refused.data.get("retry_after_ms", 200) / 1000)


def told(client: Client, *types: str) -> list[Message]:
    return [message for message in client.inbox if message["type"] in types]


@pytest.fixture
async def evening(deploy: Deploy, private_valkey: EmbeddedValkey, people: People) -> Evening:
    """On a Valkey of its own, that may be killed."""
    house = await deploy(
        "serve", "serve", "matchmaker", "worker", config=CONFIG, MINUET_REDIS_URL=private_valkey.url
    )
    return Evening(house, people)


@pytest.fixture(params=["flushed", "restarted empty", "restarted with its data"])
def lose(request: pytest.FixtureRequest, private_valkey: EmbeddedValkey) -> Lose:
    """Has the store lose something, in each of the ways it can."""

    async def flushed() -> None:
        redis = Redis.from_url(private_valkey.url)
        await redis.flushall()
        await redis.aclose()

    async def restarted(empty: bool) -> None:
        redis = Redis.from_url(private_valkey.url)
        folder = (await redis.config_get("dir"))["dir"]
        await redis.aclose()
        await private_valkey.kill()
        if empty:
            await asyncio.to_thread(_empty, folder)
        await private_valkey.start()

    how: dict[str, Lose] = {
        "flushed": flushed,
        "restarted empty": lambda: restarted(True),
        "restarted with its data": lambda: restarted(False),
    }
    return how[request.param]


def _empty(folder: str) -> None:
    for each in Path(folder).iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


async def test_everybody_keeps_session_and_place(evening: Evening, lose: Lose) -> None:
    """Those who wait, who are away and who have lost their socket: in the order in which they came."""
    queued: list[Client] = []
    for number in range(6):
        client = await evening.she((evening.here, evening.there)[number % 2])
        await evening.join(client)
        queued.append(client)
    first, second, away, lost, last, leaver = queued
    await away.request("presence.set", {"away": True})
    await lost.drop()
    # What is flushed to disk each second is what a restart may keep.
    await asyncio.sleep(1.2)
    await lose()
    await evening.restored()
    back = await lost.resume(lost.account["access_token"])
    await away.request("presence.set", {"away": False})
    await patiently(leaver, "queue.leave")
    partners = []
    for place in (first, second, away, lost, last):
        him = await evening.he(evening.there)
        await evening.join(him)
        found = await him.wait_for("match.found", timeout_s=SETTLED_S)
        assert await place.wait_for("match.found", call_id=found["call_id"])
        partners.append(him)

    assert back["type"] == "session.resumed"
    for client in queued:
        assert told(client, "queue.left", "session.superseded", "session.ready") == []
    assert told(leaver, "match.found") == []
    assert await evening.put_back("session") >= 6


async def test_a_command_that_comes_at_the_wrong_moment_may_be_repeated(evening: Evening, lose: Lose) -> None:
    """Joins that come while nobody has noticed yet, and while things are put back: each is granted in the end, once."""
    women = [await evening.she((evening.here, evening.there)[number % 2]) for number in range(4)]
    men = [await evening.he((evening.there, evening.here)[number % 2]) for number in range(4)]
    losing = asyncio.create_task(lose())
    await asyncio.gather(*(evening.join(client) for client in (*women, *men)))
    await losing
    await evening.restored()
    found = await asyncio.gather(
        *(client.wait_for("match.found", timeout_s=SETTLED_S) for client in (*women, *men))
    )

    assert sorted(each["call_id"] for each in found[:4]) == sorted(each["call_id"] for each in found[4:])
    assert len({each["call_id"] for each in found}) == 4
    for client in (*women, *men):
        assert told(client, "queue.left", "match.found", "error") == []


async def test_whoever_connects_meanwhile_finds_everything(evening: Evening, lose: Lose) -> None:
    """A device whose socket is lost with the data comes back to another node, and finds the place it had."""
    her = await evening.she(evening.here)
    joined = await evening.join(her)
    await asyncio.sleep(1.2)
    await her.drop()
    await lose()
    ready = await _reconnected(her)
    again = await evening.join(her)

    assert ready["type"] in ("session.resumed", "session.ready")
    assert again["ticket_id"] == joined["ticket_id"]
    assert again["queued_at"] == joined["queued_at"]


async def _reconnected(client: Client) -> Message:
    """As a client does it: again after each close that allows it."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            try:
                return await client.resume(client.account["access_token"])
            except Exception as error:
                code = getattr(error, "code", None)
                assert code is None or 4000 <= code < 4500, error
                await asyncio.sleep(0.3)
