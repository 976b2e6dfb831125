"""Chat as two people have it: messages, read marks, typing, over real hubs."""

import uuid

import pytest

from loadtests.swarm.client import Client, Message, RequestRefused
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.integration.chat.couples import Couple, connected, meet, talk


@pytest.fixture
async def house(deploy: Deploy) -> Deployment:
    return await deploy("serve --all-in-one")


@pytest.fixture
async def couple(house: Deployment, people: People, database_url: str) -> Couple:
    return await connected(people, database_url, house.url)


async def say(client: Client, couple: Couple, body: str, client_id: str | None = None) -> Message:
    message = {
        "connection_id": couple.connection_id,
        "client_id": client_id or uuid.uuid4().hex,
        "body": body,
    }
    return await client.request("chat.send", message)


async def refused(client: Client, type_: str, content: Message) -> str:
    with pytest.raises(RequestRefused) as caught:
        await client.request(type_, content)
    return caught.value.code


async def test_a_connection_made_in_a_call_opens_the_chat_in_the_middle_of_it(
    house: Deployment, people: People
) -> None:
    """Both are told once the connection is written, and write to each other while they talk."""
    her, him, call_id = await meet(people, house.url)
    await talk(her, him, call_id)

    made = await her.request("connect.request", {"call_id": call_id})
    told = [await side.wait_for("connection.made", call_id=call_id) for side in (her, him)]

    assert made["pending"] is False
    assert {one["connection_id"] for one in told} == {made["connection_id"]}
    assert [one["peer"]["first_name"] for one in told] == ["Sam", "Sam"]
    couple = Couple(her, him, made["connection_id"])
    sent = await say(him, couple, "hello")
    heard = await her.wait_for("chat.message")
    assert (heard["id"], heard["number"], heard["from"], heard["unread"]) == (sent["id"], 1, "peer", 1)
    await him.wait_for("call.ended", call_id=call_id)
    with pytest.raises(TimeoutError):
        await him.wait_for("connection.made", timeout_s=1.5)
