"""With what a client says who it is, and in which codec: what the handshake and the first message settle, and nothing else."""

from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from loadtests.swarm.wire import Message, Wire
from tests.fixtures.deployment import Deployment, Lasting, People


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve") as deployment:
        yield deployment


async def first_answer(
    house: Deployment, *, query: str = "", token: str | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """The first message on a socket that begins with `session.start`, over this address and with these headers."""
    address = house.url.replace("http", "ws", 1) + f"/v1/ws{query}"
    said = {"device_id": "a-device"} | ({} if token is None else {"token": token})
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.ws_connect(address, protocols=["minuet.v1.json"]) as socket,
    ):
        await socket.send_json({"type": "session.start", "data": said})
        message: Message = await socket.receive_json(timeout=30)
        return message


async def test_a_header_of_the_handshake_stands_for_the_token(house: Deployment, people: People) -> None:
    """For clients that can set headers; browsers cannot."""
    account = await people.account(house.url)
    header = {"Authorization": f"Bearer {account['access_token']}"}

    assert (await first_answer(house, headers=header))["type"] == "session.ready"


async def test_the_first_message_has_the_last_word(house: Deployment, people: People) -> None:
    """Where both are there, and whichever of the two is good."""
    account = await people.account(house.url)
    good, bad = account["access_token"], "nothing of ours"

    refused = await first_answer(house, token=bad, headers={"Authorization": f"Bearer {good}"})
    assert (refused["type"], refused["data"]["code"]) == ("error", "unauthenticated")
    taken = await first_answer(house, token=good, headers={"Authorization": f"Bearer {bad}"})
    assert taken["type"] == "session.ready"


@pytest.mark.parametrize("name", ["token", "access_token", "authorization"])
async def test_a_token_in_the_address_is_none(house: Deployment, people: People, name: str) -> None:
    """Addresses end up in logs of proxies and in histories of browsers."""
    account = await people.account(house.url)

    refused = await first_answer(house, query=f"?{name}={account['access_token']}")

    assert refused["type"] == "error"
    assert refused["data"]["code"] in ("invalid_message", "unauthenticated")


@pytest.mark.parametrize(("codec", "other"), [("json", "msgpack"), ("msgpack", "json")])
async def test_the_other_codec_is_none_of_this_socket(
    house: Deployment, people: People, codec: str, other: str
) -> None:
    """The handshake has settled it: JSON comes in text frames, MessagePack in binary ones, and nothing is guessed."""
    client = await people.online(house.url, codec=codec)
    payload = Wire(other).frame("queue.leave", {}, client.wire.next_id())
    for _ in range(11):
        await client.send_raw(payload, binary=other == "msgpack")

    assert await client.wait_closed(60) == 4500
    assert "ok" not in {message["type"] for message in client.inbox}


async def test_text_in_a_binary_frame_is_no_json(house: Deployment, people: People) -> None:
    """Though what is in it could be read."""
    client = await people.online(house.url)
    for _ in range(11):
        await client.send_raw(client.wire.frame("queue.leave", {}, client.wire.next_id()), binary=True)

    assert await client.wait_closed(60) == 4500
