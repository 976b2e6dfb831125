"""Two people's way through a call, with clients of any release on hubs of any release."""

import asyncio
from typing import Any

from loadtests.swarm.client import RequestRefused
from tests.fixtures.sdp import VOICE, audio, description, video

# Clients of two releases have the same methods, and no type in common.
AnyClient = Any

WITH_VIDEO = description(audio(), video())
WITHOUT_VIDEO = description(audio(), video("inactive"))
CANDIDATE = {"candidate": "candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host", "mid": "0"}


async def meet(her: AnyClient, him: AnyClient) -> str:
    """Both join the queue; the id of their call."""
    await her.request("queue.join", {"intent": "dating", "preferences": {}})
    await him.request("queue.join", {"intent": "dating", "preferences": {}})
    found = await her.wait_for("match.found")
    await him.wait_for("match.found", call_id=found["call_id"])
    call_id: str = found["call_id"]
    return call_id


async def begin(her: AnyClient, him: AnyClient, call_id: str) -> None:
    """From proposed to live, with candidates on the way."""
    await pick_up(her, him, call_id)
    await trickle(her, him, call_id, "self")
    await trickle(him, her, call_id, "peer")
    await go_live(her, him, call_id)


async def pick_up(her: AnyClient, him: AnyClient, call_id: str) -> None:
    """Both accept, and have each other's description; she sits on seat a, since she queued first."""
    for side in (her, him):
        await side.request("call.accept", {"call_id": call_id})
    await her.wait_for("call.ice_servers")
    await negotiate(her, him, call_id, 1, VOICE)


async def go_live(her: AnyClient, him: AnyClient, call_id: str) -> None:
    """Both say that media flows."""
    for side in (her, him):
        await side.request("call.media", {"call_id": call_id, "state": "connected"})
    await asyncio.gather(*(side.wait_for("call.state", state="live") for side in (her, him)))


async def negotiate(offerer: AnyClient, answerer: AnyClient, call_id: str, number: int, sdp: str) -> None:
    """An offer and its answer, each as it was sent."""
    call = {"call_id": call_id}
    await offerer.request("call.offer", {**call, "negotiation": number, "sdp": sdp})
    offer = await answerer.wait_for("call.offer", call_id=call_id)
    answer = {**call, "negotiation": offer["negotiation"], "of": "peer", "sdp": sdp}
    await answerer.request("call.answer", answer)
    answered = await offerer.wait_for("call.answer", call_id=call_id)
    assert offer["sdp"] == answered["sdp"] == sdp
    assert (answered["negotiation"], answered["of"]) == (number, "self")


async def trickle(sender: AnyClient, reader: AnyClient, call_id: str, of: str) -> None:
    """A candidate crosses, turned to the reader's view."""
    await sender.request(
        "call.candidates", {"call_id": call_id, "negotiation": 1, "of": of, "candidates": [CANDIDATE]}
    )
    read = await reader.wait_for("call.candidates", call_id=call_id)
    assert read["of"] == ("peer" if of == "self" else "self")
    assert read["candidates"][0]["candidate"] == CANDIDATE["candidate"]


async def see(her: AnyClient, him: AnyClient, call_id: str) -> None:
    """He asks, she allows, both show themselves, she takes it back, and it is back."""
    call = {"call_id": call_id}
    await him.request("video.request", call)
    await her.wait_for("video.requested", call_id=call_id)
    await her.request("video.approve", {**call, "direction": "both"})
    await him.wait_for("video.allowed", call_id=call_id)
    await negotiate(him, her, call_id, 1, WITH_VIDEO)
    await her.request("video.revoke", call)
    await him.wait_for("video.revoked", call_id=call_id)
    offer = {**call, "negotiation": 2, "sdp": WITH_VIDEO}
    assert await refusal(him, "call.offer", offer) == "video_not_allowed"
    await negotiate(her, him, call_id, 2, WITHOUT_VIDEO)


async def part(her: AnyClient, him: AnyClient, call_id: str) -> None:
    """She hangs up; both hear it once."""
    await her.request("call.hangup", {"call_id": call_id})
    reasons = [(await side.wait_for("call.ended", call_id=call_id))["reason"] for side in (her, him)]
    assert reasons == ["hangup", "hangup"], reasons


async def refusal(client: AnyClient, type_: str, data: dict[str, Any]) -> str:
    """The code of the error that answers; fails where it is not refused."""
    try:
        await client.request(type_, data)
    except Exception as error:
        # Each release's client has a class of its own for it.
        if type(error).__name__ != RequestRefused.__name__:
            raise
        code: str = error.code  # type: ignore[attr-defined]  # known by its name
        return code
    raise AssertionError(f"{type_} was not refused")
