"""From what two people do to what a moderator reads, through real processes; and what a seat has spent, on its way to another
node."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from loadtests.swarm.client import RequestRefused
from signaling.budget import MESSAGE_BYTES
from signaling.call.record import decode
from signaling.call.states import SEATS
from storage.redis.keys import Keys
from tests.e2e.scripted import Pair, match, pair_up
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.sdp import VOICE, audio, description, video
from tests.fixtures.waiting import until

CONFIG = """
[intents.dating]
call_seconds = 60.0
revoke_window_s = 20.0
signaling_bytes = 8000
"""
WITH_VIDEO = description(audio(), video())
WITHOUT_VIDEO = description(audio(), video("inactive"))


async def moderator_of(deployment: Deployment, people: People) -> str:
    """An access token."""
    account = await people.account(deployment.url)
    await deployment.run("create-admin", account["email"], "--role", "moderator")
    credentials = {name: account[name] for name in ("email", "password")}
    async with people.http.post(f"{deployment.url}/api/v1/auth/login", json=credentials) as response:
        token: str = (await response.json())["data"]["access_token"]
        return token


async def read(people: People, url: str, token: str, path: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with people.http.get(f"{url}/api/v1/admin/reports{path}", headers=headers) as response:
        return response.status, (await response.json()).get("data")


async def what_happened(pair: Pair) -> None:
    """He tries to send video, asks, is let, and she takes it back; afterwards she reports him."""
    with pytest.raises(RequestRefused):
        await pair.him.request("call.offer", {**pair.call, "negotiation": 1, "sdp": WITH_VIDEO})
    await pair.him.request("video.request", pair.call)
    await pair.her.wait_for("video.requested", **pair.call)
    await pair.her.request("video.approve", {**pair.call, "direction": "both"})
    await pair.negotiate(pair.him, pair.her, 2, WITH_VIDEO)
    await pair.her.request("video.revoke", pair.call)
    await pair.negotiate(pair.her, pair.him, 3, WITHOUT_VIDEO)
    await pair.her.request("safety.report", {**pair.call, "category": "nudity", "note": "too fast"})
    await pair.her.request("call.hangup", pair.call)
    await pair.him.wait_for("call.ended", **pair.call)


async def test_what_two_people_agreed_to_can_be_read_and_checked(deploy: Deploy, people: People) -> None:
    """Every step with its moment and its actor, sealed; the hub's own log names the same end of the chain."""
    deployment = await deploy("serve --all-in-one", config=CONFIG)
    pair = await pair_up(people, deployment.url)
    await pair.talk()
    await what_happened(pair)
    token = await moderator_of(deployment, people)

    status, log = 0, None
    async with asyncio.timeout(60):
        while status != 200:
            # History and reports are written by jobs, a moment after the call.
            await asyncio.sleep(0.1)
            _, reports = await read(people, deployment.url, token, "")
            if reports:
                status, log = await read(people, deployment.url, token, f"/{reports[0]['report_id']}/consent")

    assert log["chain"] == {"state": "intact", "broken_at": None}
    her, him = (side.account["user"]["id"] for side in pair.both)
    # When a refusal was noted depends on its second; what people did is in their order.
    refusals = [entry for entry in log["entries"] if entry["kind"] == "relay_refused"]
    done = [entry for entry in log["entries"] if entry not in refusals]
    assert [
        (entry["kind"], entry["by_user_id"], entry["sender_seat"], entry["detail"]) for entry in done
    ] == [
        ("video_asked", him, None, None),
        ("video_allowed", her, "a", "both"),
        ("video_allowed", her, "b", "both"),
        ("video_revoked", her, "a", None),
        ("video_revoked", her, "b", None),
    ]
    assert [entry["at"] for entry in done] == sorted(entry["at"] for entry in done)
    assert [(entry["by_user_id"], entry["detail"], entry["count"]) for entry in refusals] in (
        [(him, "video_not_allowed", 1)],
        [],
    )
    assert log["refusals"] in ({"video_not_allowed": 1}, {})
    lines = (
        json.loads(line) for line in deployment.of("serve").log.read_text().splitlines() if line[:1] == "{"
    )
    ended = next(line for line in lines if line.get("event") == "call ended")
    hashes = [entry["hash"] for entry in log["entries"]]
    assert ended["consent_head"] == hashes[ended["consent_entries"] - 1]
    assert (await deployment.run("check-consent")) == "1 intact, 0 broken, 0 unsealed\n"


async def test_a_refusal_just_before_the_end_is_not_lost(deploy: Deploy, people: People) -> None:
    """It is committed a second later, when the call has ended already, and joins the log that is written by then."""
    deployment = await deploy("serve --all-in-one", config=CONFIG)
    pair = await pair_up(people, deployment.url)
    await pair.talk()
    await what_happened(pair)
    token = await moderator_of(deployment, people)

    kinds: list[str] = []
    async with asyncio.timeout(60):
        while "relay_refused" not in kinds:
            await asyncio.sleep(0.1)
            _, reports = await read(people, deployment.url, token, "")
            if reports:
                _, log = await read(people, deployment.url, token, f"/{reports[0]['report_id']}/consent")
                kinds = [entry["kind"] for entry in (log or {"entries": []})["entries"]]

    assert log["chain"]["state"] == "intact"
    assert log["refusals"] == {"video_not_allowed": 1}


async def test_what_a_seat_has_spent_goes_with_it_to_another_node(deploy: Deploy, people: People) -> None:
    """She loses her socket and comes back elsewhere: what is left of the budget is all that she has."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    here, there = (process.public for process in deployment.processes if process.public)
    her, him = await people.online(here, "female"), await people.online(there, "male")
    pair = await match(her, him, "dating", {})
    await pair.talk()
    assert await spend(pair, 5_000) == ""

    await her.drop()
    await him.wait_for("call.state", **pair.call, state="reconnecting", peer_attached=False)
    moved = people.client(there)
    moved.device_id = her.device_id
    await moved.start(her.account["access_token"])
    pair.her = moved

    assert await spend(pair, 5_000) == "rate_limited"
    ended = await him.wait_for("call.ended", **pair.call)
    assert ended["reason"] == "signaling_limit"


async def test_a_second_session_elsewhere_begins_no_second_budget(
    deploy: Deploy, people: People, redis_url: str
) -> None:
    """She keeps her socket and opens another one on the other node, which takes the call over."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    here, there = (process.public for process in deployment.processes if process.public)
    her, him = await people.online(here, "female"), await people.online(here, "male")
    pair = await match(her, him, "dating", {})
    await pair.talk()
    assert await spend(pair, 5_000) == ""

    moved = people.client(there)
    moved.device_id = her.device_id
    await moved.start(her.account["access_token"])
    await her.wait_for("session.superseded")
    pair.her = moved
    # Her first node says what was spent there when it sees her socket go, which may be after she is heard here.
    async with Redis.from_url(redis_url) as redis:
        await until(lambda: knows_of_spending(redis, pair.call_id))
    # What is committed is heard at once, or else when it is told again a second or two later.
    await asyncio.sleep(3)

    assert await spend(pair, 5_000) == "rate_limited"
    ended = await him.wait_for("call.ended", **pair.call)
    assert ended["reason"] == "signaling_limit"


async def knows_of_spending(redis: Redis, call_id: str) -> bool:
    """Whether the stored call says that a seat has spent anything."""
    payload = await redis.hget(Keys().call(call_id), "payload")
    return payload is not None and any(decode(payload).seat(seat).signaling_spent for seat in SEATS)


async def spend(pair: Pair, size: int) -> str:
    """She sends answers that nobody waits for, of so many bytes in all; the code if they are too many."""
    for _ in range(size // (MESSAGE_BYTES + len(VOICE))):
        try:
            await pair.her.request("call.answer", {**pair.call, "negotiation": 900, "sdp": VOICE})
        except RequestRefused as refusal:
            if refusal.code != "stale_negotiation":
                return refusal.code
    return ""
