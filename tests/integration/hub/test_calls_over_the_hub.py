"""The whole journey over a real hub: queue, match, call, consent, goodbye. One side speaks JSON, the other msgpack."""

from collections.abc import Iterator

import pytest

from tests.compat.talking import negotiate
from tests.fixtures.deployment import Deploy, Lasting, People
from tests.fixtures.refusals import refused
from tests.fixtures.sdp import VOICE, audio, description, video
from tests.integration.hub.couples import meet, talk

LONG_CALLS = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.5
deciding_s = 30.0
reconnecting_s = 30.0
[intents.friends]
call_seconds = 120.0
decide_after_s = 0.5
deciding_s = 30.0
"""
SOON_OVER = """
[intents.dating]
call_seconds = 8.0
decide_after_s = 0.5
deciding_s = 8.0
"""


@pytest.fixture(scope="module")
def calm_hub(lasting: Lasting) -> Iterator[str]:
    """A hub on which no clock ends a call while a test does one thing after another in it."""
    with lasting("serve --all-in-one", config=LONG_CALLS) as deployment:
        yield deployment.url


async def test_strangers_meet_talk_and_the_clock_ends_their_call(hub: str, people: People) -> None:
    """The second `media connected` starts the clock; at its end she decides and he is free."""
    her, him, call_id = await meet(people, hub)
    await talk(her, him, call_id)

    ended = await him.wait_for("call.ended", call_id=call_id)
    prompt = await her.wait_for("connect.prompt", call_id=call_id)

    assert ended["reason"] == "completed"
    # The clock ends it; how late, on a machine that is busy, is no matter.
    assert 1_900 <= ended["duration_ms"] <= 7_000
    assert prompt["expires_at"] > 0
    await her.request("connect.pass", {"call_id": call_id})
    assert (await her.wait_for("call.ended", call_id=call_id))["reason"] == "completed"


async def test_one_claim_of_media_alone_starts_no_clock(hub: str, people: People) -> None:
    """A call is live when both have said that media flows."""
    her, him, call_id = await meet(people, hub)
    call = {"call_id": call_id}
    await her.request("call.accept", call)
    await him.request("call.accept", call)

    assert await refused(her, "call.media", {**call, "state": "connected"}) == "bad_state"
    await negotiate(her, him, call_id, 1, VOICE)
    await her.request("call.media", {**call, "state": "connected"})
    await her.wait_for("call.state", state="connecting", version=4)
    with pytest.raises(TimeoutError):
        await him.wait_for("call.state", timeout_s=0.3, state="live")


async def test_declining_sends_the_other_back_to_the_queue(hub: str, people: People) -> None:
    """Who did not decline keeps the old place; who did is out."""
    her, him, call_id = await meet(people, hub)

    await her.request("call.decline", {"call_id": call_id})
    ended = await him.wait_for("call.ended", call_id=call_id)

    assert ended == {"call_id": call_id, "reason": "declined", "duration_ms": 0, "requeued": True}
    assert not (await her.wait_for("call.ended", call_id=call_id))["requeued"]
    again = await him.request("queue.join", {"intent": "dating"})
    assert again["queued_at"] == him.account["place"]["queued_at"]
    await him.request("queue.leave")


async def test_video_is_refused_until_she_approves_and_after_she_revokes(
    calm_hub: str, people: People
) -> None:
    """What she has not agreed to never reaches the other side, whatever a client sends."""
    her, him, call_id = await meet(people, calm_hub)
    await talk(her, him, call_id)
    call = {"call_id": call_id}
    with_video = description(audio(), video())
    offer = {**call, "negotiation": 1, "sdp": with_video}

    assert await refused(him, "call.offer", offer) == "video_not_allowed"
    assert await refused(him, "video.approve", {**call, "direction": "both"}) == "forbidden_role"
    assert await refused(her, "video.deny", call) == "no_pending_request"
    await him.request("video.request", call)
    await her.wait_for("video.requested", call_id=call_id)
    assert await refused(him, "video.request", call) == "already_requested"
    await her.request("video.approve", {**call, "direction": "both"})
    allowed = await him.wait_for("video.allowed", call_id=call_id)
    assert allowed["video_allowed"] == {"a": True, "b": True}
    await negotiate(him, her, call_id, 2, with_video)
    await her.request("video.revoke", call)
    revoked = await him.wait_for("video.revoked", call_id=call_id)
    assert revoked["video_allowed"] == {"a": False, "b": False}
    assert await refused(him, "call.offer", {**offer, "negotiation": 3}) == "video_not_allowed"
    await negotiate(her, him, call_id, 2, description(audio(), video("inactive")))


async def test_he_sees_nothing_of_her_when_she_only_receives(calm_hub: str, people: People) -> None:
    """`receive` lets only the guest send; her own camera stays out of every description."""
    her, him, call_id = await meet(people, calm_hub)
    await talk(her, him, call_id)
    call = {"call_id": call_id}

    await her.request("video.approve", {**call, "direction": "receive"})

    hers = {**call, "negotiation": 2, "sdp": description(audio(), video("sendrecv"))}
    assert await refused(her, "call.offer", hers) == "video_not_allowed"
    his = {**call, "negotiation": 1, "sdp": description(audio(), video("sendrecv"))}
    assert await refused(him, "call.offer", his) == "video_not_allowed"
    await him.request("call.offer", {**his, "negotiation": 2, "sdp": description(audio(), video("sendonly"))})
    offer = await her.wait_for("call.offer", call_id=call_id)
    answer = {**call, "negotiation": offer["negotiation"], "of": "peer"}
    good = {**answer, "sdp": description(audio(), video("recvonly"))}
    bad = {**answer, "sdp": description(audio(), video("sendrecv"))}
    assert await refused(her, "call.answer", bad) == "video_not_allowed"
    failed = [await side.wait_for("call.negotiation_failed", call_id=call_id) for side in (her, him)]
    assert {item["code"] for item in failed} == {"video_not_allowed"}
    assert await refused(her, "call.answer", good) == "stale_negotiation"


async def test_connecting_makes_a_connection_and_the_call_goes_on(deploy: Deploy, people: People) -> None:
    """She decides; asking again gives the same answer."""
    deployment = await deploy("serve --all-in-one", config=SOON_OVER)
    her, him, call_id = await meet(people, deployment.url)
    await talk(her, him, call_id)
    call = {"call_id": call_id}

    assert await refused(him, "connect.request", call) == "forbidden_role"
    made = await her.request("connect.request", call)
    again = await her.request("connect.request", call)

    assert made["connected"] is True
    assert made == again
    told = await him.wait_for("connection.made", call_id=call_id)
    assert told["connection_id"] == made["connection_id"]
    assert (await him.wait_for("call.ended", call_id=call_id))["reason"] == "completed"


async def test_in_a_mutual_call_a_lone_wish_stays_secret(calm_hub: str, people: People) -> None:
    """The first `connect.request` is told to nobody; the second makes the connection."""
    her, him, call_id = await meet(people, calm_hub, "friends")
    await talk(her, him, call_id)
    call = {"call_id": call_id}

    her.inbox.clear()
    await him.request("connect.request", call)
    with pytest.raises(TimeoutError):
        await her.wait_until(lambda message: message["type"] != "ping", timeout_s=0.3)
    await her.request("connect.request", call)

    assert (await him.wait_for("connection.made"))["call_id"] == call_id
    assert (await her.wait_for("connection.made"))["call_id"] == call_id


async def test_more_time_needs_both(deploy: Deploy, people: People) -> None:
    """A request for more time is the other's to answer."""
    deployment = await deploy("serve --all-in-one", config=SOON_OVER)
    her, him, call_id = await meet(people, deployment.url)
    await talk(her, him, call_id)
    call = {"call_id": call_id}

    assert await refused(her, "call.extend.reply", {**call, "accept": True}) == "no_pending_extension"
    await him.request("call.extend", call)
    await her.wait_for("call.extend.requested", call_id=call_id)
    await her.request("call.extend.reply", {**call, "accept": True})

    ended = await him.wait_for("call.ended", call_id=call_id)
    assert ended["duration_ms"] >= 15_900


async def test_a_block_ends_the_call_and_keeps_the_two_apart(calm_hub: str, people: People) -> None:
    """He is told of a hangup, nothing more; the two never meet again."""
    her, him, call_id = await meet(people, calm_hub)
    await talk(her, him, call_id)
    report = {"call_id": call_id, "category": "harassment", "note": "rude"}

    await her.request("safety.block", {"call_id": call_id})

    ended = await him.wait_for("call.ended", call_id=call_id)
    assert ended["reason"] == "hangup"
    await her.request("safety.report", report)
    for side in (her, him):
        await side.request("queue.join", {"intent": "dating"})
    with pytest.raises(TimeoutError):
        await him.wait_for("match.found", timeout_s=0.5)
    for side in (her, him):
        await side.request("queue.leave")


async def test_a_lost_socket_is_waited_for_and_the_session_resumed(calm_hub: str, people: People) -> None:
    """The other side hears `reconnecting`, the lost one comes back to the same call with nothing missed."""
    her, him, call_id = await meet(people, calm_hub)
    await talk(her, him, call_id)

    await him.drop()
    await her.wait_for("call.state", state="reconnecting")
    answer = await him.resume(him.account["access_token"])
    await him.wait_for("call.state", state="live")

    assert answer["type"] == "session.resumed"
    await her.wait_for("call.state", state="live")


async def test_a_reloaded_page_takes_over_the_call_of_its_device(calm_hub: str, people: People) -> None:
    """A new session of the same device finds the call in its snapshot; the old socket is superseded."""
    her, him, call_id = await meet(people, calm_hub)
    await talk(her, him, call_id)
    reloaded = people.client(calm_hub, codec="msgpack", device_id=him.device_id)

    ready = await reloaded.start(him.account["access_token"])

    assert ready["snapshot"]["call"]["call_id"] == call_id
    assert ready["snapshot"]["call"]["state"] == "reconnecting"
    assert await him.wait_closed() == 4501
    await reloaded.request("call.media", {"call_id": call_id, "state": "failed"})
    await her.wait_for("call.reset", call_id=call_id)
    await reloaded.wait_for("call.reset", call_id=call_id)


async def test_a_stranger_learns_nothing_of_a_call(hub: str, people: People) -> None:
    """A foreign call id answers as one that does not exist, for commands and relays alike."""
    *_, call_id = await meet(people, hub)
    stranger = await people.online(hub, "female")
    offer = {"call_id": call_id, "negotiation": 1, "sdp": VOICE}

    codes = {
        await refused(stranger, "call.accept", {"call_id": call_id}),
        await refused(stranger, "call.offer", offer),
        await refused(stranger, "video.revoke", {"call_id": call_id}),
        await refused(stranger, "safety.block", {"call_id": call_id}),
        await refused(stranger, "call.accept", {"call_id": "01890000-0000-7000-8000-000000000000"}),
    }

    assert codes == {"not_a_participant"}


async def test_two_hubs_carry_one_call(deploy: Deploy, people: People) -> None:
    """Each side on a hub of its own: match, relays, consent and goodbye cross over."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=LONG_CALLS)
    here, there = (process.public for process in deployment.processes if process.public)
    her, him = await people.online(here, "female"), await people.online(there, "male", codec="msgpack")
    await her.request("queue.join", {"intent": "dating"})
    await him.request("queue.join", {"intent": "dating"})
    call_id = (await her.wait_for("match.found"))["call_id"]
    await him.wait_for("match.found", call_id=call_id)

    await talk(her, him, call_id)
    candidate = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "mid": "0"}
    trickle = {"call_id": call_id, "negotiation": 1, "of": "peer", "candidates": [candidate]}
    await him.request("call.candidates", trickle)
    assert (await her.wait_for("call.candidates"))["of"] == "self"
    await him.request("video.request", {"call_id": call_id})
    await her.wait_for("video.requested", call_id=call_id)
    await her.request("video.approve", {"call_id": call_id, "direction": "both"})
    await him.wait_for("video.allowed", call_id=call_id)
    await negotiate(him, her, call_id, 1, description(audio(), video()))
    await her.request("video.revoke", {"call_id": call_id})
    await him.wait_for("video.revoked", call_id=call_id)
    offer = {"call_id": call_id, "negotiation": 2, "sdp": description(audio(), video())}
    assert await refused(him, "call.offer", offer) == "video_not_allowed"

    await her.request("call.hangup", {"call_id": call_id})
    assert (await him.wait_for("call.ended", call_id=call_id))["reason"] == "hangup"


async def test_candidates_wait_for_their_description(hub: str, people: People) -> None:
    """Early candidates are relayed after their offer, with the side turned to the reader's view."""
    her, him, call_id = await meet(people, hub)
    call = {"call_id": call_id}
    await her.request("call.accept", call)
    await him.request("call.accept", call)
    candidate = {"candidate": "candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host", "mid": "0"}

    await her.request("call.candidates", {**call, "negotiation": 1, "of": "self", "candidates": [candidate]})
    await her.request("call.offer", {**call, "negotiation": 1, "sdp": VOICE})

    relayed = await him.wait_until(lambda m: m["type"] in ("call.offer", "call.candidates"))
    assert relayed["type"] == "call.offer"
    candidates = await him.wait_for("call.candidates", call_id=call_id)
    assert (candidates["of"], candidates["negotiation"]) == ("peer", 1)
    assert candidates["candidates"][0]["candidate"] == candidate["candidate"]
