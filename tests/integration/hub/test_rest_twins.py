"""Commands of a call over REST, on real hubs: from a device without a session, and through the node of neither."""

import asyncio
from typing import Any

import pytest

from loadtests.swarm.client import Client
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.sdp import VOICE

CONFIG = """
[intents.dating]
call_seconds = 60.0
decide_after_s = 0.2
deciding_s = 20.0
reconnecting_s = 15.0
video_cooldown_s = 0.0
"""


class Room:
    """Her on one hub, him on another, and REST through a third that has neither."""

    def __init__(
        self, people: People, deployment: Deployment, her: Client, him: Client, call_id: str
    ) -> None:
        self.people = people
        self.deployment = deployment
        self.her, self.him, self.call_id = her, him, call_id
        self.call = {"call_id": call_id}

    async def post(
        self, who: Client, command: str, body: object = None, *, hub: str = "", key: str = ""
    ) -> tuple[int, dict[str, Any], bool]:
        """Status, data or error, and whether it was a replay."""
        headers = {"Authorization": f"Bearer {who.account['access_token']}"}
        if key:
            headers["Idempotency-Key"] = key
        url = f"{hub or self.hubs[2]}/api/v1/interactions/{self.call_id}/{command}"
        async with self.people.http.post(url, json=body, headers=headers) as answer:
            content = await answer.json()
            replayed = "Idempotency-Replayed" in answer.headers
            return answer.status, content.get("data") or content.get("error"), replayed

    @property
    def hubs(self) -> list[str]:
        return [process.public for process in self.deployment.processes if process.public]


@pytest.fixture
async def room(deploy: Deploy, people: People) -> Room:
    """A call that is live."""
    deployment = await deploy("serve", "serve", "serve", "matchmaker", "worker", config=CONFIG)
    hubs = [process.public for process in deployment.processes if process.public]
    her = await people.online(hubs[0], "female")
    him = await people.online(hubs[1], "male", codec="msgpack")
    await her.request("queue.join", {"intent": "dating"})
    await him.request("queue.join", {"intent": "dating"})
    found = await her.wait_for("match.found")
    call = {"call_id": found["call_id"]}
    await him.wait_for("match.found", call_id=found["call_id"])
    await her.request("call.accept", call)
    await him.request("call.accept", call)
    await asyncio.gather(her.wait_for("call.ice_servers"), him.wait_for("call.ice_servers"))
    await her.request("call.offer", {**call, "negotiation": 1, "sdp": VOICE})
    offer = await him.wait_for("call.offer", call_id=found["call_id"])
    answer = {**call, "negotiation": offer["negotiation"], "of": "peer", "sdp": VOICE}
    await him.request("call.answer", answer)
    await her.wait_for("call.answer", call_id=found["call_id"])
    await her.request("call.media", {**call, "state": "connected"})
    await him.request("call.media", {**call, "state": "connected"})
    await asyncio.gather(her.wait_for("call.state", state="live"), him.wait_for("call.state", state="live"))
    return Room(people, deployment, her, him, found["call_id"])


async def test_every_decision_can_be_made_without_a_socket(room: Room) -> None:
    """Both sides are told as if it had come over theirs; a repeat with its key is answered, not done."""
    her, him = room.her, room.him
    asked = await room.post(him, "video-request", key="1")
    await her.wait_for("video.requested", call_id=room.call_id)
    again = await room.post(him, "video-request", key="1")
    twice = await room.post(him, "video-request", key="2")
    denied = await room.post(her, "video-denial", key="1")
    await him.wait_for("video.denied", reason="denied")
    nothing = await room.post(her, "video-denial", key="2")

    assert (asked[0], again[0], twice[0], denied[0], nothing[0]) == (200, 200, 409, 200, 409)
    assert again == (200, asked[1], True)
    assert (twice[1]["code"], nothing[1]["code"]) == ("already_requested", "no_pending_request")

    not_his = await room.post(him, "video-approval", {"direction": "both"})
    seen = await room.post(her, "video-approval", {"direction": "receive"})
    allowed = await him.wait_for("video.allowed")
    both = await room.post(her, "video-approval", {"direction": "both"})
    await him.wait_for("video.allowed", video_allowed={"a": True, "b": True})
    revoked = await room.post(him, "video-revocation")
    off = await her.wait_for("video.revoked")

    assert (not_his[0], not_his[1]["code"]) == (403, "forbidden_role")
    assert (seen[0], both[0], revoked[0]) == (200, 200, 200)
    assert sorted(allowed["video_allowed"].values()) == [False, True]
    assert off["video_allowed"] == {"a": False, "b": False}

    too_early = await room.post(her, "pass")
    await asyncio.sleep(0.3)
    hung_up = await room.post(him, "hangup", key="1")
    ended = await him.wait_for("call.ended", call_id=room.call_id)
    await her.wait_for("connect.prompt", call_id=room.call_id)
    repeated = await room.post(him, "hangup", key="1")
    passed = await room.post(her, "pass", key="1")
    over = await her.wait_for("call.ended", call_id=room.call_id)
    anew = await room.post(her, "pass", key="2")

    assert (too_early[0], too_early[1]["code"]) == (409, "bad_state")
    assert (hung_up[0], ended["reason"]) == (200, "hangup")
    assert repeated == (200, hung_up[1], True)
    assert (passed[0], over["reason"]) == (200, "completed")
    assert (anew[0], anew[1]["code"]) == (409, "call_ended")


async def test_she_connects_although_she_is_not_there(room: Room) -> None:
    """While she decides: her socket is gone, then her hub too; a repeat gives the same connection."""
    her, him = room.her, room.him
    await asyncio.sleep(0.3)
    await him.request("call.hangup", room.call)
    await her.wait_for("connect.prompt", call_id=room.call_id)
    await her.drop()
    await room.deployment.processes[0].kill()
    status, data, _ = await room.post(her, "connect", hub=room.hubs[2])
    made = await him.wait_for("connection.made", timeout_s=20, call_id=room.call_id)
    repeated = await room.post(her, "connect", hub=room.hubs[1])
    his = await room.post(him, "connect", hub=room.hubs[1])

    assert status == 200
    assert data["connected"]
    assert made["connection_id"] == data["connection_id"]
    assert repeated == (200, data, False)
    assert (his[0], his[1]["code"]) == (409, "call_ended")


async def test_the_same_key_on_two_nodes_at_once_does_it_once(room: Room) -> None:
    """All get the one answer, whichever node did it."""
    answers = await asyncio.gather(
        *(room.post(room.him, "video-request", hub=room.hubs[index % 3], key="k") for index in range(9))
    )
    await room.her.wait_for("video.requested", call_id=room.call_id)

    assert {status for status, _, _ in answers} == {200}
    assert len({data["until_at"] for _, data, _ in answers}) == 1
    assert sum(replayed for _, _, replayed in answers) == 8
    with pytest.raises(TimeoutError):
        await room.her.wait_for("video.requested", timeout_s=0.3)


async def test_a_call_is_rated_as_soon_as_it_is_over_for_somebody(room: Room) -> None:
    """He is free while she decides; what each said is in their own history only."""
    her, him = room.her, room.him
    early = await room.post(him, "feedback", {"rating": 1})
    await asyncio.sleep(0.3)
    await him.request("call.hangup", room.call)
    await her.wait_for("connect.prompt", call_id=room.call_id)
    his = await room.post(him, "feedback", {"rating": 5, "tags": ["funny"]})
    not_yet = await room.post(her, "feedback", {"rating": 2})
    await her.request("connect.pass", room.call)
    hers = await room.post(her, "feedback", {"rating": 2, "note": "Loud."})

    assert (early[0], not_yet[0]) == (409, 409)
    assert (early[1]["code"], not_yet[1]["code"]) == ("bad_state", "bad_state")
    assert (his[0], hers[0]) == (200, 200)
    assert [(one["feedback"]["rating"], one["feedback"]["note"]) for one in await history(room, her)] == [
        (2, "Loud.")
    ]
    assert [one["feedback"]["tags"] for one in await history(room, him)] == [["funny"]]


async def history(room: Room, who: Client) -> list[dict[str, Any]]:
    """The user's calls, once there is one."""
    headers = {"Authorization": f"Bearer {who.account['access_token']}"}
    async with asyncio.timeout(20):
        while True:
            url = f"{room.hubs[2]}/api/v1/history/interactions"
            async with room.people.http.get(url, headers=headers) as answer:
                found: list[dict[str, Any]] = (await answer.json())["data"]
            if found:
                return found
            await asyncio.sleep(0.1)
