"""Whose things are whose: every route and every message times owner, stranger and nobody, on a real hub.

Generated from the routes and the message types themselves: one that is added and not described in the tables below
fails the test. Which role may use a route at all is tested beside REST (`test_access`).
"""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import pytest

from loadtests.swarm.client import Client, Closed, Message, RequestRefused
from rest.app import ENDPOINTS
from rest.endpoints import Endpoint
from rest.policies import Policy
from signaling.protocol.schema import CLIENT_MESSAGES
from tests.fixtures.deployment import Deployment, Lasting, People
from tests.fixtures.sdp import VOICE

CONFIG = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.0
deciding_s = 60.0
"""
STRANGE = {"not_a_participant", "not_connected", "not_found"}
"""How things of others are refused: as if they did not exist."""

# --- REST --------------------------------------------------------------------------------------------------------

NAMES = {"call_id": "call", "connection_id": "connection", "block_id": "block"}
"""What the parameters of paths, and fields of bodies, name; a moderator's are not among them: they own nothing."""

BODIES: dict[str, Any] = {
    "approveVideo": {"direction": "both"},
    "giveFeedback": {"rating": 3},
    "sendMessage": {"client_id": "1", "body": "Hello"},
    "markRead": {"up_to": 0},
    "block": {"connection_id": "{connection}"},
    "report": {"call_id": "{call}", "category": "spam"},
}
"""Of the routes that take one and concern somebody's thing."""


def concerns(endpoint: Endpoint) -> set[str]:
    """What things of somebody a route is about."""
    in_path = {name for name in NAMES if f"{{{name}}}" in endpoint.path}
    in_body = {name for name in NAMES if name in BODIES.get(endpoint.name, {})}
    return {NAMES[name] for name in in_path | in_body}


OBJECT_ROUTES = [one for one in ENDPOINTS if one.policy is Policy.USER and concerns(one)]

# --- messages ----------------------------------------------------------------------------------------------------


class About(StrEnum):
    """What a message is about, and so who may send it."""

    OPENING = auto()  # whoever has a token, as the first message
    SELF = auto()  # whoever has a session: it names nothing of anybody
    CALL = auto()  # the two of a call
    CONNECTION = auto()  # the two of a connection
    OWN_ONLY = auto()  # whoever has a session; of a list, what is not theirs is passed over in silence


CALL: Message = {"call_id": "{call}"}
LINK: Message = {"connection_id": "{connection}"}
# In this order the owner can send them all: what ends something comes last.
MESSAGES: dict[str, tuple[About, Message]] = {
    "session.start": (About.OPENING, {"token": "x", "device_id": "d"}),
    "session.resume": (
        About.OPENING,
        {"token": "x", "session_id": str(uuid.uuid4()), "last_seq": 0, "device_id": "d"},
    ),
    "ack": (About.SELF, {}),
    "pong": (About.SELF, {}),
    "presence.set": (About.SELF, {"away": False}),
    "presence.watch": (About.OWN_ONLY, {"connection_ids": ["{connection}"]}),
    "presence.unwatch": (About.OWN_ONLY, {"connection_ids": ["{connection}"]}),
    "chat.send": (About.CONNECTION, {**LINK, "client_id": "1", "body": "Hello"}),
    "chat.read": (About.CONNECTION, {**LINK, "up_to": 0}),
    "chat.typing": (About.CONNECTION, LINK),
    "call.accept": (About.CALL, CALL),
    "call.ice_servers": (About.CALL, CALL),
    "call.offer": (About.CALL, {**CALL, "negotiation": 7, "sdp": VOICE}),
    "call.answer": (About.CALL, {**CALL, "negotiation": 7, "sdp": VOICE}),
    "call.candidates": (About.CALL, {**CALL, "negotiation": 7, "candidates": []}),
    "call.media": (About.CALL, {**CALL, "state": "connected"}),
    "call.extend": (About.CALL, CALL),
    "call.extend.reply": (About.CALL, {**CALL, "accept": True}),
    "video.request": (About.CALL, CALL),
    "video.approve": (About.CALL, {**CALL, "direction": "receive"}),
    "video.deny": (About.CALL, CALL),
    "video.revoke": (About.CALL, CALL),
    "connect.request": (About.CALL, CALL),
    "connect.pass": (About.CALL, CALL),
    "safety.report": (About.CALL, {**CALL, "category": "spam"}),
    "call.decline": (About.CALL, CALL),
    "call.hangup": (About.CALL, CALL),
    "safety.block": (About.CONNECTION, LINK),
    "queue.join": (About.SELF, {"intent": "friends"}),
    "queue.leave": (About.SELF, {}),
    "session.refresh": (About.SELF, {"token": "{token}"}),
    "session.end": (About.SELF, {}),
}
UNANSWERED = {"ack", "pong", "chat.typing"}


@dataclass
class Scene:
    """A pair in a live call, a pair that stays in touch, one who has blocked, and somebody who belongs to none."""

    people: People
    hub: str
    ids: dict[str, str]
    in_call: tuple[Client, Client]
    in_touch: tuple[Client, Client]
    blocker: Client
    stranger: Client

    def owner(self, about: set[str]) -> Client:
        """Whose such things are."""
        if "block" in about:
            return self.blocker
        return self.in_call[0] if "call" in about else self.in_touch[0]

    def filled(self, value: Any, client: Client) -> Any:
        """The sample, with the scene's ids in it."""
        known = {**self.ids, "token": client.account["access_token"]}
        match value:
            case str():
                for name, text in known.items():
                    value = value.replace(f"{{{name}}}", text)
                return value
            case dict():
                return {name: self.filled(inner, client) for name, inner in value.items()}
            case list():
                return [self.filled(inner, client) for inner in value]
            case _:
                return value

    async def ask(self, endpoint: Endpoint, client: Client | None) -> tuple[int, str]:
        """Status and error code ('' where there is none)."""
        path = endpoint.path
        for name, thing in NAMES.items():
            path = path.replace(f"{{{name}}}", self.ids[thing])
        sender = client or self.stranger
        async with self.people.http.request(
            endpoint.method,
            self.hub + path,
            json=self.filled(BODIES.get(endpoint.name), sender),
            headers={"Authorization": f"Bearer {client.account['access_token']}"} if client else {},
        ) as answer:
            content = await answer.json()
            return answer.status, content.get("error", {}).get("code", "")

    async def tell(self, type_: str, client: Client) -> str:
        """The error code of the reply, '' for `ok` or none."""
        data = self.filled(MESSAGES[type_][1], client)
        if type_ in UNANSWERED:
            await client.send(type_, data)
            return ""
        try:
            await client.request(type_, data)
        except RequestRefused as refused:
            return refused.code
        return ""

    async def nothing_came(self) -> None:
        """None of the four was told anything since the inboxes were emptied."""
        await asyncio.sleep(0.3)
        for client in (*self.in_call, *self.in_touch):
            assert [one for one in client.inbox if one["type"] != "ping"] == []


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve --all-in-one", config=CONFIG) as deployment:
        yield deployment


async def talking(people: People, hub: str) -> tuple[Client, Client, str]:
    """A pair in a live call."""
    region = f"pair-{uuid.uuid4().hex[:12]}"
    her = await people.online(hub, "female", region=region)
    him = await people.online(hub, "male", codec="msgpack", region=region)
    for client in (her, him):
        await client.request("queue.join", {"intent": "dating", "preferences": {"regions": [region]}})
    call = {"call_id": (await her.wait_for("match.found"))["call_id"]}
    await him.wait_for("match.found")
    for client in (her, him):
        await client.request("call.accept", call)
    await her.request("call.offer", {**call, "negotiation": 1, "sdp": VOICE})
    offer = await him.wait_for("call.offer")
    answer = {**call, "negotiation": offer["negotiation"], "of": "peer", "sdp": VOICE}
    await him.request("call.answer", answer)
    for client in (her, him):
        await client.request("call.media", {**call, "state": "connected"})
    for client in (her, him):
        await client.wait_for("call.state", state="live")
    return her, him, call["call_id"]


async def listed(people: People, hub: str, client: Client, path: str) -> list[Any]:
    """What a list has, once it has something."""
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with asyncio.timeout(20):
        while True:
            async with people.http.get(f"{hub}/api/v1/{path}", headers=headers) as answer:
                found: list[Any] = (await answer.json())["data"]
            if found:
                return found
            await asyncio.sleep(0.1)


@pytest.fixture
async def scene(house: Deployment, people: People) -> Scene:
    hub = house.url
    friends, lovers, others = await asyncio.gather(*(talking(people, hub) for _ in range(3)))
    await friends[0].request("connect.request", {"call_id": friends[2]})
    await friends[0].request("call.hangup", {"call_id": friends[2]})
    [connection] = await listed(people, hub, friends[0], "connections")
    headers = {"Authorization": f"Bearer {others[0].account['access_token']}"}
    async with people.http.post(
        f"{hub}/api/v1/blocks", json={"call_id": others[2]}, headers=headers
    ) as answer:
        assert answer.status == 201
    [block] = await listed(people, hub, others[0], "blocks")
    stranger = await people.online(hub, "female")
    made = Scene(
        people,
        hub,
        {"call": lovers[2], "connection": connection["connection_id"], "block": block["block_id"]},
        (lovers[0], lovers[1]),
        (friends[0], friends[1]),
        others[0],
        stranger,
    )
    await _quiet(*made.in_call, *made.in_touch)
    for client in (*made.in_call, *made.in_touch):
        client.inbox.clear()
    return made


async def _quiet(*clients: Client) -> None:
    """Returns when nothing has come for a second: what was said of the past is not news of what is tried."""
    heard = -1
    async with asyncio.timeout(30):
        while heard != (heard := sum(len(client.inbox) for client in clients)):
            await asyncio.sleep(1)


def test_every_route_about_something_is_described() -> None:
    """A parameter, or a body with one, that the tables do not know would be tested by nobody."""
    unknown = {
        parameter
        for endpoint in ENDPOINTS
        if endpoint.policy is Policy.USER
        for parameter in _parameters(endpoint.path)
        if parameter not in NAMES
    }
    without_body = {one.name for one in OBJECT_ROUTES if one.body is not None and one.name not in BODIES}

    assert unknown == set()
    assert without_body == set()
    assert {thing for one in OBJECT_ROUTES for thing in concerns(one)} == set(NAMES.values())


def test_every_message_is_described() -> None:
    """One that is added has to say what it is about."""
    assert set(MESSAGES) == set(CLIENT_MESSAGES)
    for type_, (about, sample) in MESSAGES.items():
        fields = set(CLIENT_MESSAGES[type_].__struct_fields__)
        names_something = {"call_id", "connection_id", "connection_ids"} & fields
        assert bool(names_something & set(sample)) is (about not in (About.OPENING, About.SELF)), type_


async def test_routes_are_for_those_whose_thing_it_is(scene: Scene) -> None:
    """A stranger is told that there is no such thing, nobody is asked who they are; the owner is let in."""
    for endpoint in OBJECT_ROUTES:
        assert await scene.ask(endpoint, None) == (401, "unauthenticated"), endpoint.name
        status, code = await scene.ask(endpoint, scene.stranger)
        assert (status in (403, 404), code in STRANGE) == (True, True), (endpoint.name, status, code)
        for other in ("call", "connection", "block"):
            if other not in concerns(endpoint):
                status, code = await scene.ask(endpoint, scene.owner({other}))
                assert code in STRANGE, (endpoint.name, other, status, code)
    await scene.nothing_came()
    # What ends something comes last.
    for endpoint in sorted(OBJECT_ROUTES, key=_ends_something):
        owner = scene.owner(concerns(endpoint))
        status, code = await scene.ask(endpoint, owner)

        assert code not in {*STRANGE, "unauthenticated", "forbidden"}, (endpoint.name, status, code)
        assert status < 500


async def test_of_a_list_only_what_is_ones_own_is_taken(scene: Scene) -> None:
    """Nobody learns by asking who is there, or that there is somebody."""
    ids = {"connection_ids": [scene.ids["connection"], str(uuid.uuid4())]}
    theirs = [await client.request("presence.watch", ids) for client in (scene.stranger, scene.in_call[0])]
    nothing = [await client.request("presence.unwatch", ids) for client in (scene.stranger, scene.in_call[0])]
    own = await scene.in_touch[0].request("presence.watch", ids)
    await scene.in_touch[0].wait_for("presence.update", connection_id=scene.ids["connection"])

    assert not any(reply["watching"] for reply in theirs)
    assert all("watching" not in reply or not reply["watching"] for reply in nothing)
    assert own["watching"]
    await scene.nothing_came()


async def test_messages_are_for_those_whose_thing_it_is(scene: Scene) -> None:
    """What a stranger sends changes and tells nothing; the owner is let in."""
    for type_, (about, _) in MESSAGES.items():
        if about in (About.CALL, About.CONNECTION):
            code = await scene.tell(type_, scene.stranger)
            assert code in STRANGE or type_ in UNANSWERED, (type_, code)
            other = scene.in_touch[0] if about is About.CALL else scene.in_call[0]
            code = await scene.tell(type_, other)
            assert code in STRANGE or type_ in UNANSWERED, (type_, code)
        elif about is About.OPENING:
            assert await scene.tell(type_, scene.stranger) == "bad_state", type_
    await scene.nothing_came()
    for type_, (about, _) in MESSAGES.items():
        if about is About.OPENING:
            continue
        owner = scene.in_call[0] if about is About.CALL else scene.in_touch[0]
        code = await scene.tell(type_, owner)

        assert code not in {*STRANGE, "unauthenticated", "forbidden", "unknown_type", "invalid_message"}, (
            type_,
            code,
        )


@pytest.mark.parametrize("type_", sorted(CLIENT_MESSAGES))
async def test_nobody_says_anything_before_who_they_are(
    house: Deployment, people: People, type_: str
) -> None:
    """Any other first message closes the socket, and so does a token that is none."""
    client = people.client(house.url)
    await client.open()
    await client.send(type_, _with_made_up_ids(MESSAGES[type_][1]), None if type_ in UNANSWERED else 1)
    code = await client.wait_closed()

    assert code == (4502 if MESSAGES[type_][0] is About.OPENING else 4500)
    assert [one["type"] for one in client.inbox] in ([], ["error"])
    with pytest.raises(Closed):
        await client.wait_for("session.ready", timeout_s=0.1)


def _ends_something(endpoint: Endpoint) -> int:
    return ["GET", "POST", "DELETE"].index(endpoint.method) + (endpoint.name == "block")


def _parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _with_made_up_ids(value: Any) -> Any:
    match value:
        case str() if value.startswith("{"):
            return str(uuid.uuid4())
        case dict():
            return {name: _with_made_up_ids(inner) for name, inner in value.items()}
        case list():
            return [_with_made_up_ids(inner) for inner in value]
        case _:
            return value
