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
from tests.fixtures.staff import staff_token
from tests.fixtures.waiting import until

CONFIG = """
[intents.dating]
call_seconds = 60.0
revoke_window_s = 20.0
signaling_bytes = 8000
"""
WITH_VIDEO = description(audio(), video())
WITHOUT_VIDEO = description(audio(), video("inactive"))


async def what_happened(deploy: Deploy, people: People) -> tuple[Deployment, Pair]:
    """He tries to send video, asks, is let, and she takes it back; afterwards she reports him."""
    deployment = await deploy("serve --all-in-one", config=CONFIG)
    pair = await pair_up(people, deployment.url)
    await pair.talk()
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
    return deployment, pair


async def log_for_moderators(deployment: Deployment, people: People, kind: str | None = None) -> Any:
    """The consent log of the call that was reported, once it can be read and has an entry of this kind."""
    token = await staff_token(deployment, people, "moderator")
    async with asyncio.timeout(60):
        # History and reports are written by jobs, a moment after the call.
        while not (reports := await read(people, deployment.url, token, "")):
            await asyncio.sleep(0.1)
        path = f"/{reports[0]['report_id']}/consent"
        while not (log := await read(people, deployment.url, token, path)) or not has(log, kind):
            await asyncio.sleep(0.1)
    return log


def has(log: Any, kind: str | None) -> bool:
    return kind is None or any(entry["kind"] == kind for entry in log["entries"])


async def read(people: People, url: str, token: str, path: str) -> Any:
    """The answer's data, if there is any."""
    headers = {"Authorization": f"Bearer {token}"}
    async with people.http.get(f"{url}/api/v1/admin/reports{path}", headers=headers) as response:
        return (await response.json()).get("data")


async def test_what_two_people_agreed_to_can_be_read_and_checked(deploy: Deploy, people: People) -> None:
    """Every step with its moment and its actor, sealed; the hub's own log names the same end of the chain."""
    deployment, pair = await what_happened(deploy, people)
    log = await log_for_moderators(deployment, people)

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
    deployment, _ = await what_happened(deploy, people)
    log = await log_for_moderators(deployment, people, "relay_refused")

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
    await go_on_at(there, people, pair)

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

    await go_on_at(there, people, pair)
    await her.wait_for("session.superseded")
    # Her first node says what was spent there when it sees her socket go, which may be after she is heard here.
    async with Redis.from_url(redis_url) as redis:
        await until(lambda: knows_of_spending(redis, pair.call_id))
    # What is committed is heard at once, or else when it is told again a second or two later.
    await asyncio.sleep(3)

    assert await spend(pair, 5_000) == "rate_limited"
    ended = await him.wait_for("call.ended", **pair.call)
    assert ended["reason"] == "signaling_limit"


async def go_on_at(hub: str, people: People, pair: Pair) -> None:
    """She begins a new session there, on the same device."""
    her = people.client(hub, device_id=pair.her.device_id)
    await her.start(pair.her.account["access_token"])
    pair.her = her


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
