"""Sessions that come back on another node than the one they left: two hubs, real sockets, one Redis."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest

from loadtests.swarm.client import Client, Closed
from tests.e2e.scripted import Pair, pair_up
from tests.e2e.waiting import metrics
from tests.fixtures.deployment import Lasting, People
from tests.fixtures.refusals import refused
from tests.fixtures.sdp import VOICE, audio, description, video
from tests.fixtures.waiting import WAIT_S

CONFIG = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.0
deciding_s = 30.0
reconnecting_s = 10.0
max_offers = 50
ip_privacy = "off"
[intents.friends]
proposed_s = 30
paused_s = 10
ip_privacy = "off"
"""
WITH_VIDEO = description(audio(), video())
CANDIDATE = {"candidate": "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host", "mid": "0"}


@dataclass(frozen=True)
class TwoHubs:
    """Where the two listen."""

    first: str
    second: str
    first_admin: str
    second_admin: str


@pytest.fixture(scope="module")
def hubs(lasting: Lasting) -> Iterator[TwoHubs]:
    with lasting("serve", "serve", "matchmaker", config=CONFIG) as deployment:
        first, second = (process for process in deployment.processes if process.role == "serve")
        yield TwoHubs(first.public, second.public, first.admin, second.admin)


def turn_to(client: Client, url: str) -> None:
    """Lets a client's next socket go to another node."""
    client._url = url.replace("http", "ws", 1) + "/v1/ws"


async def move(client: Client, url: str) -> str:
    """The client loses its network and comes back on another node; the type of the answer."""
    await client.drop()
    turn_to(client, url)
    answer = await client.resume(client.account["access_token"])
    return str(answer["type"])


async def test_a_session_goes_on_where_its_client_comes_back(hubs: TwoHubs, people: People) -> None:
    """What it had not read comes first, in order and once; the numbers of its requests go on."""
    her = await people.online(hubs.first)
    await her.request("queue.join", {"intent": "friends", "preferences": {"regions": ["nobody"]}})
    asked = her.wire.next_id()
    await her.drop()
    turn_to(her, hubs.second)
    answer = await her.resume(her.account["access_token"])
    last_id = answer["data"]["last_id"]
    left = await her.request("queue.leave")

    assert answer["type"] == "session.resumed"
    assert last_id == asked - 1
    assert left == {}


async def test_a_request_is_done_once_however_often_it_is_sent(hubs: TwoHubs, people: People) -> None:
    """Its reply was lost with the socket: the next node has it in the replay, and does not do it again."""
    her = await people.online(hubs.first)
    await her.request("queue.join", {"intent": "friends", "preferences": {"regions": ["nobody"]}})
    request_id, before = her.wire.next_id(), her.last_seq
    await her.send("queue.leave", None, request_id)
    await her.wait_until(lambda m: m.get("id") == request_id)
    her.wire.last_seq = before
    await her.drop()
    turn_to(her, hubs.second)
    answer = await her.resume(her.account["access_token"])
    again = await her.wait_until(lambda m: m.get("id") == request_id)
    await her.send("queue.leave", None, request_id)
    await her.request("queue.join", {"intent": "friends", "preferences": {"regions": ["nobody"]}})

    assert answer["data"]["last_id"] >= request_id
    assert again["type"] == "ok"
    assert not [message for message in her.inbox if message.get("id") == request_id]


async def test_a_call_goes_on_while_its_people_move(hubs: TwoHubs, people: People) -> None:
    """One after the other goes to the other node: what they negotiate arrives, and the clock is as it was."""
    pair = await pair_up(people, hubs.first)
    ends_at = await pair.talk()
    came = [await move(pair.her, hubs.second)]
    await pair.negotiate(pair.her, pair.him, 2)
    await pair.negotiate(pair.him, pair.her, 1)
    came.append(await move(pair.him, hubs.second))
    await pair.negotiate(pair.him, pair.her, 2)
    came.append(await move(pair.her, hubs.first))
    await pair.negotiate(pair.her, pair.him, 3)
    view = await live_view(pair.him)

    assert came == ["session.resumed"] * 3
    assert view["ends_at"] == ends_at
    assert not [m for side in pair.both for m in side.inbox if m["type"] in ("call.reset", "call.ended")]


async def test_an_open_negotiation_is_answered_across_nodes(hubs: TwoHubs, people: People) -> None:
    """She moves with an offer that waits; his answer, and the candidates of both, find their way."""
    pair = await pair_up(people, hubs.first)
    await pair.talk()
    candidates = {**pair.call, "candidates": [CANDIDATE], "complete": False}
    await pair.her.request("call.offer", {**pair.call, "negotiation": 2, "sdp": VOICE})
    await pair.him.wait_for("call.offer", negotiation=2)
    came = await move(pair.her, hubs.second)
    await pair.him.request("call.answer", {**pair.call, "negotiation": 2, "of": "peer", "sdp": VOICE})
    answer = await pair.her.wait_for("call.answer", negotiation=2)
    await pair.her.request("call.candidates", {**candidates, "negotiation": 2, "of": "self"})
    theirs = await pair.him.wait_for("call.candidates", negotiation=2)
    await pair.him.request("call.candidates", {**candidates, "negotiation": 2, "of": "peer"})
    hers = await pair.her.wait_for("call.candidates", negotiation=2)

    assert came == "session.resumed"
    assert answer["of"] == "self"
    assert (theirs["of"], hers["of"]) == ("peer", "self")


async def test_an_offer_that_was_made_meanwhile_waits_for_her(hubs: TwoHubs, people: People) -> None:
    """He offers while she is on no node; she finds it where she comes back, and may answer it there."""
    pair = await pair_up(people, hubs.first)
    await pair.talk()
    await pair.her.drop()
    await pair.him.wait_for("call.state", state="reconnecting")
    await pair.him.request("call.offer", {**pair.call, "negotiation": 1, "sdp": VOICE})
    turn_to(pair.her, hubs.second)
    came = await pair.her.resume(pair.her.account["access_token"])
    offer = await pair.her.wait_for("call.offer", negotiation=1)
    await pair.her.request("call.answer", {**pair.call, "negotiation": 1, "of": "peer", "sdp": VOICE})
    await pair.him.wait_for("call.answer", negotiation=1)
    view = await pair.him.wait_for("call.state", state="live")

    assert came["type"] == "session.resumed"
    assert offer["sdp"].startswith("v=0")
    assert view["peer_attached"]


async def test_moving_opens_no_video(hubs: TwoHubs, people: People) -> None:
    """What was not allowed on one node is not on the next; what is taken back there stays taken back."""
    pair = await pair_up(people, hubs.first)
    await pair.talk()
    await move(pair.him, hubs.second)
    unasked = await refused_video(pair, pair.him, 1)
    await pair.him.request("video.request", pair.call)
    await pair.her.wait_for("video.requested")
    await pair.her.request("video.approve", {**pair.call, "direction": "both"})
    await pair.him.wait_for("video.allowed")
    await pair.negotiate(pair.him, pair.her, 2, WITH_VIDEO)
    await move(pair.her, hubs.second)
    await pair.negotiate(pair.her, pair.him, 2, WITH_VIDEO)
    await pair.her.request("video.revoke", pair.call)
    await pair.him.wait_for("video.revoked")
    await move(pair.him, hubs.first)
    revoked = await refused_video(pair, pair.him, 3)
    await pair.negotiate(pair.her, pair.him, 3)
    await asyncio.sleep(6)
    view = await live_view(pair.her)

    assert (unasked, revoked) == ("video_not_allowed", "video_not_allowed")
    # The answer without video closed the window, on whichever node: else the call would be over.
    assert view["state"] == "live"
    assert view["video_allowed"] == {"a": False, "b": False}


async def test_who_waits_keeps_their_place(hubs: TwoHubs, people: People) -> None:
    """The ticket goes along, with its time: a partner is found on the node where one is now."""
    region = people.client(hubs.first).device_id[:12]
    her = await people.online(hubs.first, "female", region=region)
    him = await people.online(hubs.first, "male", region=region)
    wish = {"intent": "dating", "preferences": {"regions": [region]}}
    await her.request("queue.join", wish)
    came = await move(her, hubs.second)
    await him.request("queue.join", wish)
    found = await her.wait_for("match.found")
    await him.wait_for("match.found", call_id=found["call_id"])
    pair = Pair(her, him, found["call_id"])
    await pair.talk()

    assert came == "session.resumed"


async def test_large_sessions_come_in_pieces(hubs: TwoHubs, people: People) -> None:
    """She is away while he offers again and again: all of it is there on the other node, in order."""
    pair = await pair_up(people, hubs.first)
    await pair.talk()
    long = VOICE + "a=note:" + "x" * 12_000 + "\r\n"
    await pair.her.drop()
    for number in range(1, 7):
        await pair.him.request("call.offer", {**pair.call, "negotiation": number, "sdp": long})
    turn_to(pair.her, hubs.second)
    came = await pair.her.resume(pair.her.account["access_token"])
    offers = [await pair.her.wait_for("call.offer") for _ in range(6)]

    assert came["type"] == "session.resumed"
    assert [offer["negotiation"] for offer in offers] == list(range(1, 7))
    assert all(offer["sdp"] == long for offer in offers)


async def test_one_of_two_who_resume_at_once_goes_on(hubs: TwoHubs, people: People) -> None:
    """The same session, on two nodes at the same moment: one gets it, and nothing of it is doubled."""
    her = await people.online(hubs.first)
    await her.drop()
    twins = [people.client(url, device_id=her.device_id) for url in (hubs.first, hubs.second)]
    for twin in twins:
        twin.session_id, twin.wire.last_seq = her.session_id, her.last_seq
        twin.wire.next_id()
    answers = await asyncio.gather(
        *(twin.resume(her.account["access_token"]) for twin in twins), return_exceptions=True
    )
    # The one that the session left is closed; to the other one nothing happens.
    closing = [asyncio.create_task(twin.wait_closed()) for twin in twins]
    await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(1.5)
    for task in closing:
        task.cancel()
    alive = []
    for twin in twins:
        with suppress(Closed, TimeoutError, ConnectionError):
            await twin.request("presence.set", {"away": False})
            alive.append(twin)

    assert len(alive) == 1, answers
    assert alive[0].session_id == her.session_id


async def test_a_client_that_comes_back_to_the_first_node_goes_on_there(
    hubs: TwoHubs, people: People
) -> None:
    """It went to the second and is back at once, many times: the session follows, and misses nothing."""
    pair = await pair_up(people, hubs.first)
    await pair.talk()
    came = []
    for number in range(1, 9):
        await pair.him.request("call.offer", {**pair.call, "negotiation": number, "sdp": VOICE})
        came.append(await move(pair.her, (hubs.second, hubs.first)[number % 2]))
        await pair.her.request(
            "call.answer", {**pair.call, "negotiation": number, "of": "peer", "sdp": VOICE}
        )
        await pair.him.wait_for("call.answer", negotiation=number)
        await asyncio.sleep(0.6)
    offers = [m["data"]["negotiation"] for m in pair.her.inbox if m["type"] == "call.offer"]

    assert came == ["session.resumed"] * 8
    assert offers == list(range(1, 9))


async def test_a_storm_of_resumes_at_the_other_node_is_worked_off(hubs: TwoHubs, people: People) -> None:
    """Everybody comes back elsewhere at once: each with their own session."""
    async with aiohttp.ClientSession() as http:
        before = await metrics(http, hubs.second_admin)
        crowd = [
            person
            for _ in range(10)
            for person in await asyncio.gather(*(people.online(hubs.first) for _ in range(6)))
        ]
        for person in crowd:
            await person.drop()
            turn_to(person, hubs.second)
        answers = await asyncio.gather(*(person.resume(person.account["access_token"]) for person in crowd))
        async with asyncio.timeout(WAIT_S):
            while (after := await metrics(http, hubs.second_admin))["minuet_handovers_awaited"]:
                await asyncio.sleep(0.05)
    moved = 'minuet_resume_total{result="elsewhere"}'

    assert [answer["type"] for answer in answers] == ["session.resumed"] * 60
    assert after[moved] - before.get(moved, 0) == 60


async def live_view(client: Client) -> dict[str, object]:
    """The call as somebody's last `call.state` says."""
    views = [m["data"] for m in client.inbox if m["type"] == "call.state"]
    if views:
        return dict(views[-1])
    return await client.wait_for("call.state")


async def refused_video(pair: Pair, client: Client, number: int) -> str:
    """The code by which an offer with video is refused."""
    return await refused(client, "call.offer", {**pair.call, "negotiation": number, "sdp": WITH_VIDEO})
