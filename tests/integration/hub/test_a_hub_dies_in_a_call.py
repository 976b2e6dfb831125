"""kill -9 of a hub under a call whose people sit on different nodes: what the others hear, and how it goes on."""

import asyncio

import pytest

from loadtests.swarm.client import Client
from tests.e2e.scripted import Pair, match
from tests.e2e.waiting import history
from tests.fixtures.deployment import Deploy, Deployment, People, Process
from tests.fixtures.sdp import VOICE, audio, description, video

CALL_S = 24.0
WINDOW_S = 8.0
CONFIG = f"""
[intents.dating]
call_seconds = {CALL_S}
decide_after_s = 600
deciding_s = 2
reconnecting_s = {WINDOW_S}
recent_partner_s = 0
ip_privacy = "off"
"""
PATIENCE_S = 30.0
# Lease, reaper and a machine that does other things.
NOTICED_S = 30.0
WITH_VIDEO = description(audio(), video())


async def apart(deployment: Deployment, people: People) -> tuple[Pair, Process, Process]:
    """A live call: she on the first hub, he on the second."""
    first, second = (process for process in deployment.processes if process.role == "serve")
    region = people.client(first.public).device_id[:12]
    her = await people.online(first.public, "female", region=region)
    him = await people.online(second.public, "male", codec="msgpack", region=region)
    return await match(her, him, "dating", {"regions": [region]}), first, second


async def come_back(client: Client, url: str) -> str:
    """Her SDK's way: resume, on another node; the type of the answer."""
    await client.wait_closed()
    client._url = url.replace("http", "ws", 1) + "/v1/ws"
    answer = await client.resume(client.account["access_token"])
    if answer["type"] == "session.ready":
        client.session_id = answer["data"]["session_id"]
        assert not answer["data"]["resumed"]
        assert answer["data"]["snapshot"]["call"] is not None
    return str(answer["type"])


async def test_a_call_goes_on_where_the_lost_side_comes_back(deploy: Deploy, people: People) -> None:
    """Her hub is killed: he reads `reconnecting`, she comes back on his, both have media again, and the clock ran on."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    pair, first, second = await apart(deployment, people)
    ends_at = await pair.talk()
    await pair.him.request("video.request", pair.call)
    await pair.her.wait_for("video.requested")
    await pair.her.request("video.approve", {**pair.call, "direction": "both"})
    await pair.him.wait_for("video.allowed")
    await pair.her.request("video.revoke", pair.call)
    await pair.him.wait_for("video.revoked")
    await pair.negotiate(pair.her, pair.him, 2)
    await first.kill()
    answer = await come_back(pair.her, second.public)
    reconnecting = await pair.him.wait_for("call.state", NOTICED_S, state="reconnecting")
    await pair.negotiate(pair.him, pair.her, 1)
    for side in pair.both:
        await side.request("call.media", {**pair.call, "state": "connected"})
    live = await pair.him.wait_for("call.state", state="live")
    over = await pair.him.wait_for("call.ended", PATIENCE_S)
    rows = [
        await history(people.http, second.public, side.account, at_least=1, timeout_s=PATIENCE_S)
        for side in pair.both
    ]

    assert answer == "session.ready"
    assert reconnecting["ends_at"] == live["ends_at"] == ends_at, "losing the network gains no time"
    assert live["video_allowed"] == {"a": False, "b": False}, "what was taken back stays taken back"
    assert over["reason"] == "completed"
    assert [[row["call_id"] for row in side] for side in rows] == [[pair.call_id]] * 2


async def test_who_does_not_come_back_is_given_up(deploy: Deploy, people: People) -> None:
    """Her hub is killed and she stays away: he reads that soon, and the call ends when her window does."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    pair, first, second = await apart(deployment, people)
    await pair.talk()
    await first.kill()
    reconnecting = await pair.him.wait_for("call.state", NOTICED_S, state="reconnecting")
    over = await pair.him.wait_for("call.ended", WINDOW_S + NOTICED_S)
    rows = await history(people.http, second.public, pair.him.account, at_least=1, timeout_s=PATIENCE_S)

    assert not reconnecting["peer_attached"]
    assert over["reason"] == "network_lost"
    assert [row["call_id"] for row in rows] == [pair.call_id]


async def test_a_call_that_lost_both_hubs_ends_in_time(deploy: Deploy, people: People) -> None:
    """Each sat on a hub of their own, and both hubs are gone: the timers fire within a second, and history has it once."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    pair, first, second = await apart(deployment, people)
    ends_at = await pair.talk()
    await asyncio.gather(first.kill(), second.kill())
    third = await deployment.start("serve")
    rows = [
        await history(people.http, third.public, side.account, at_least=1, timeout_s=PATIENCE_S)
        for side in pair.both
    ]

    assert [[row["call_id"] for row in side] for side in rows] == [[pair.call_id]] * 2
    [row] = rows[0]
    # Whichever came first: her window that nobody came back in, or the clock; and then the time to decide.
    assert row["reason"] in ("network_lost", "completed")
    assert row["ended_at"] <= ends_at + 2_000 + 2_000, "each of the timers within a second"


@pytest.mark.parametrize("kind", ["kill", "stop"])
async def test_an_offer_under_way_does_not_hang(deploy: Deploy, people: People, kind: str) -> None:
    """She loses her hub with an offer unanswered: it is answered, or both are told to begin anew."""
    deployment = await deploy("serve", "serve", "matchmaker", config=CONFIG)
    pair, first, second = await apart(deployment, people)
    await pair.talk()
    await pair.her.request("call.offer", {**pair.call, "negotiation": 2, "sdp": VOICE})
    await pair.him.wait_for("call.offer", negotiation=2)
    going = asyncio.create_task(first.kill() if kind == "kill" else first.stop())
    answer = await come_back(pair.her, second.public)
    await going
    if answer == "session.resumed":
        await pair.him.request("call.answer", {**pair.call, "negotiation": 2, "of": "peer", "sdp": VOICE})
        await pair.her.wait_for("call.answer", negotiation=2)
    else:
        for side in pair.both:
            await side.wait_for("call.reset")
        await pair.negotiate(pair.her, pair.him, 3)

    assert answer == ("session.ready" if kind == "kill" else "session.resumed")


async def test_a_crowd_that_lost_its_hub_is_let_in_elsewhere_at_once(deploy: Deploy, people: People) -> None:
    """More than are fetched at a time: that the dead hub does not answer is found out once, not by each of them."""
    deployment = await deploy("serve", "serve", config=CONFIG)
    first, second = deployment.processes
    crowd: list[Client] = []
    for _ in range(18):
        for account in await asyncio.gather(*(people.account(first.public) for _ in range(6))):
            for _ in range(3):
                client = people.client(first.public)
                client.account = account
                crowd.append(client)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(client.start(client.account["access_token"]) for client in crowd))
    greeted_s = asyncio.get_running_loop().time() - started
    await first.kill()
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(come_back_alone(client, second.public) for client in crowd))
    took_s = asyncio.get_running_loop().time() - started

    assert answers == ["session.ready"] * 324
    # One round of waiting in vain, where there would be six, and then what 324 greetings take on this machine.
    assert took_s < 4 + 1.5 * greeted_s, (took_s, greeted_s)


async def come_back_alone(client: Client, url: str) -> str:
    """As `come_back`, of somebody who is in no call."""
    await client.wait_closed()
    client._url = url.replace("http", "ws", 1) + "/v1/ws"
    answer = await client.resume(client.account["access_token"])
    return str(answer["type"])
