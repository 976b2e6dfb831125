"""Two people with real media stacks: a call through hub, matchmaker and worker, each in a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from loadtests.swarm.client import Client, Message
from tests.e2e.peers import VoicePeer
from tests.e2e.waiting import history, login, metrics, until
from tests.fixtures.deployment import Deployment, Lasting, People

pytestmark = pytest.mark.e2e

CALL_S = 6.0
# What must come may come so late, where other tests run beside this one.
PATIENCE_S = 60.0
BUSY_MS = 10_000
CONFIG = f"""
[intents.dating]
call_seconds = {CALL_S}
proposed_s = 60.0
connecting_s = 60.0
decide_after_s = 0
deciding_s = 20.0
[intents.friends]
call_seconds = 600.0
proposed_s = 60.0
connecting_s = 60.0
"""
HER_HZ, HIS_HZ = 400, 700


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", "worker", config=CONFIG) as deployment:
        yield deployment


class Couple:
    """A woman who speaks JSON and a man who speaks MessagePack, with their voices."""

    def __init__(self, her: Client, him: Client, call_id: str, her_seat: str) -> None:
        self.call_id = call_id
        self.call: Message = {"call_id": call_id}
        self.her, self.him = her, him
        self.her_seat = her_seat
        self.hers = VoicePeer(her, speaks_hz=HER_HZ, hears_hz=HIS_HZ, trickles=True)
        self.his = VoicePeer(him, speaks_hz=HIS_HZ, hears_hz=HER_HZ)

    async def set_up(self) -> None:
        """Media flows both ways; nobody has said so to the hub yet."""
        await asyncio.gather(
            self.hers.take_call(self.call_id, offers=self.her_seat == "a"),
            self.his.take_call(self.call_id, offers=self.her_seat == "b"),
        )
        await asyncio.gather(self.hers.connected(), self.his.connected())

    async def talk(self) -> None:
        """The clock runs."""
        await self.set_up()
        await self.her.request("call.media", {**self.call, "state": "connected"})
        await self.him.request("call.media", {**self.call, "state": "connected"})
        for side in (self.her, self.him):
            await side.wait_for("call.state", state="live")


@asynccontextmanager
async def met(deployment: Deployment, people: People, intent: str) -> AsyncIterator[Couple]:
    """Two who have been shown each other."""
    her = await people.online(deployment.url, "female", first_name="Maya")
    him = await people.online(deployment.url, "male", codec="msgpack", first_name="Leo")
    await her.request("queue.join", {"intent": intent})
    await him.request("queue.join", {"intent": intent})
    found = await her.wait_for("match.found")
    await him.wait_for("match.found", call_id=found["call_id"])
    couple = Couple(her, him, found["call_id"], found["seat"])
    yield couple
    await asyncio.gather(couple.hers.close(), couple.his.close())


@pytest.fixture
async def couple(deployment: Deployment, people: People) -> AsyncIterator[Couple]:
    """Whose call is over after some seconds."""
    async with met(deployment, people, "dating") as couple:
        yield couple


async def test_voices_flow_both_ways_and_the_second_claim_starts_the_clock(couple: Couple) -> None:
    """One side's word that media flows starts nothing; the second's does, and the server ends what it started."""
    her, him, call = couple.her, couple.him, couple.call
    await couple.set_up()
    await asyncio.gather(couple.hers.ear.hears(), couple.his.ear.hears())

    await her.request("call.media", {**call, "state": "connected"})
    alone = await him.wait_until(lambda m: m["type"] == "call.state" and m["data"]["version"] >= 4)
    # A full second of talk later the clock still stands.
    await asyncio.gather(couple.hers.ear.hears(50), couple.his.ear.hears(50))
    told = [m["data"] for m in [alone, *her.inbox, *him.inbox] if m["type"] == "call.state"]
    assert {view["state"] for view in told} <= {"proposed", "connecting"}
    assert {view["ends_at"] for view in told} == {None}
    claimed_at = time.time_ns() // 1_000_000
    await him.request("call.media", {**call, "state": "connected"})
    live = await her.wait_for("call.state", state="live")
    over = await her.wait_for("call.state", PATIENCE_S, state="deciding")
    ended = await him.wait_for("call.ended", PATIENCE_S, **call)

    assert couple.hers.candidates_received == 0, "his came within his description"
    assert couple.his.candidates_received > 0, "hers were trickled"
    # The clock is whole although she had said long before that she was ready.
    assert claimed_at + CALL_S * 1000 <= live["ends_at"] <= live["server_now"] + CALL_S * 1000
    assert 0 <= over["server_now"] - live["ends_at"] <= 1000 + BUSY_MS
    assert ended["reason"] == "completed"
    assert CALL_S * 1000 <= ended["duration_ms"] <= CALL_S * 1000 + 1000 + BUSY_MS


async def test_who_stays_in_touch_finds_it_in_the_history_of_both(
    couple: Couple, deployment: Deployment, people: People
) -> None:
    """She asks, both hear of the connection, the call runs to its end, and both accounts list it once."""
    await couple.talk()
    live_since = couple.her.ready["server_now"]

    made = await couple.her.request("connect.request", couple.call)
    told = await couple.him.wait_for("connection.made", **couple.call)
    await asyncio.gather(couple.hers.ear.hears(), couple.his.ear.hears())
    for side in (couple.her, couple.him):
        ended = await side.wait_for("call.ended", PATIENCE_S, **couple.call)
        assert ended["reason"] == "completed"
    hers = await history(people.http, deployment.url, couple.her.account, at_least=1)
    his = await history(people.http, deployment.url, couple.him.account, at_least=1)

    assert made["connection_id"] == told["connection_id"]
    assert told["peer"]["first_name"] == "Maya"
    assert [(row["call_id"], row["peer"]["first_name"], row["role"]) for row in hers] == [
        (couple.call_id, "Leo", "controller")
    ]
    assert [(row["call_id"], row["peer"]["first_name"], row["role"]) for row in his] == [
        (couple.call_id, "Maya", "guest")
    ]
    for row in (*hers, *his):
        assert row["reason"] == "completed"
        assert row["connected"]
        assert row["connection_id"] == made["connection_id"]
        assert row["started_at"] >= live_since
        assert CALL_S * 1000 <= row["duration_ms"] <= CALL_S * 1000 + 1000 + BUSY_MS


async def test_operators_see_the_call_while_it_runs(deployment: Deployment, people: People) -> None:
    """Presence counts two people in one live call on the living nodes; the metrics count what was relayed."""
    operator = await people.account(deployment.url)
    refused = await presence(people.http, deployment.url, operator["access_token"])
    printed = await deployment.run("create-admin", operator["email"])
    token = await login(people.http, deployment.url, operator)

    # The people of the tests before may still be on their way out.
    async def seen() -> dict[str, Any] | None:
        data: dict[str, Any] = (await presence(people.http, deployment.url, token)).get("data", {})
        roles = sorted(node["role"] for node in data.get("nodes", ()))
        if roles != ["hub", "matchmaker", "worker"] or data["calls"].get("live") != 1:
            return None
        return data if (data["users"]["in_call"], data["users"]["online"]) == (2, 2) else None

    async def counted() -> dict[str, float] | None:
        samples = await metrics(people.http, deployment.of("serve").admin)
        people_now = (
            samples.get("minuet_ws_connections"),
            samples.get('minuet_presence_users{state="in_call"}'),
        )
        return samples if people_now == (2, 2) else None

    async def all_ready() -> bool | None:
        statuses = [await status(people.http, f"{process.admin}/readyz") for process in deployment.processes]
        return statuses == [200, 200, 200] or None

    # In an intent whose calls go on for as long as the test does.
    async with met(deployment, people, "friends") as couple:
        await couple.talk()
        await until(seen, PATIENCE_S)
        hub = await until(counted, PATIENCE_S)
        matchmaker = await metrics(people.http, deployment.of("matchmaker").admin)
        await until(all_ready, PATIENCE_S)

    assert refused["error"]["code"] == "forbidden"
    assert operator["email"] in printed
    assert hub["minuet_relay_seconds_count"] >= 3, "an offer, an answer, a batch of candidates"
    assert matchmaker['minuet_matches_total{intent="friends",outcome="claimed"}'] >= 1


async def presence(http: aiohttp.ClientSession, url: str, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{url}/api/v1/admin/presence", headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as response:
        return response.status
