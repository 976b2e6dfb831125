"""Bad input of every kind: each gets its typed error or close code, and nothing else is disturbed."""

import asyncio
import json
from typing import Any

import aiohttp
import jwt
import pytest

from loadtests.swarm.client import Client
from tests.fixtures.deployment import SECRET, People
from tests.fixtures.refusals import refusal, refused

CALL = "01890000-0000-7000-8000-000000000000"


async def error_to(client: Client, payload: bytes, *, binary: bool | None = None) -> dict[str, Any]:
    await client.send_raw(payload, binary=binary)
    return (await client.wait_until(lambda message: message["type"] == "error")) | {}


@pytest.mark.parametrize(
    ("payload", "code", "request_id"),
    [
        (b"{", "invalid_message", None),
        (b"[]", "invalid_message", None),
        (b"{}", "invalid_message", None),
        (b'{"type": "call.fly", "id": 7}', "unknown_type", 7),
        (b'{"type": "queue.join", "id": 7, "data": {"intent": 5}}', "invalid_message", 7),
        (b'{"type": "queue.join", "id": 7, "data": {"intent": "golf"}}', "unknown_intent", 7),
        (b'{"type": "queue.join", "data": {"intent": "dating"}}', "invalid_message", None),
        (b'{"type": "call.accept", "id": 7, "data": {"call_id": "x"}}', "invalid_message", 7),
        (
            json.dumps({"type": "call.accept", "id": 7, "data": {"call_id": CALL}}).encode(),
            "not_a_participant",
            7,
        ),
        (b'{"type": "session.start", "id": 7, "data": {"device_id": "x"}}', "bad_state", 7),
        (b"[" * 30_000, "invalid_message", None),
    ],
)
async def test_a_bad_message_is_answered_and_the_session_goes_on(
    hub: str, people: People, payload: bytes, code: str, request_id: int | None
) -> None:
    """The typed error names the request where it could be read; the next request works."""
    client = await people.online(hub)

    error = await error_to(client, payload)

    assert error["data"]["code"] == code
    assert error.get("id") == request_id
    assert await _still_works(client, 100)


async def _still_works(client: Client, request_id: int) -> bool:
    await client.send("queue.leave", None, request_id)
    answer = await client.wait_until(lambda message: message.get("id") == request_id)
    return bool(answer["type"] == "ok")


async def test_the_wrong_kind_of_frame_closes_the_connection(hub: str, people: People) -> None:
    """A binary frame on the JSON subprotocol: 4500, do not reconnect."""
    client = await people.online(hub)

    await client.send_raw(b'{"type":"ack"}', binary=True)

    assert await client.wait_closed() == 4500


async def test_too_large_a_message_closes_with_1009(hub: str, people: People) -> None:
    """64 kB once the session has started, 4 kB before."""
    started = await people.online(hub)
    waiting = people.client(hub)
    await waiting.open()

    await started.send_raw(b'{"type":"ack","x":"' + b"x" * 70_000 + b'"}')
    await waiting.send_raw(b'{"type":"ack","x":"' + b"x" * 5_000 + b'"}')

    assert await started.wait_closed() == 1009
    assert await waiting.wait_closed() == 1009


async def test_the_first_message_has_to_start_a_session(hub: str, people: People) -> None:
    """Anything else: 4500."""
    client = people.client(hub)
    await client.open()

    await client.send("queue.leave", None, 1)

    assert await client.wait_closed() == 4500


async def test_who_says_nothing_is_closed_after_five_seconds(hub: str, people: People) -> None:
    """4004; pings do not extend it."""
    client = people.client(hub)
    await client.open()

    assert await client.wait_closed() == 4004


def _forged(**claims: Any) -> str:
    return jwt.encode({"sub": "x", "iss": "minuet", "aud": "minuet", **claims}, SECRET, algorithm="HS256")


@pytest.mark.parametrize(
    "token",
    ["nonsense", "a.b.c", _forged(exp=1), jwt.encode({"sub": "x"}, "k" * 32, algorithm="HS256")],
    ids=["no token", "three dots", "claims missing", "another key"],
)
async def test_a_bad_token_is_told_and_closed_for_good(hub: str, people: People, token: str) -> None:
    """4502 after the typed error: do not reconnect."""
    client = people.client(hub)
    await client.open()

    await client.send("session.start", {"token": token, "device_id": "d"})

    error = await client.wait_for("error")
    assert error["code"] == "unauthenticated"
    assert await client.wait_closed() == 4502


async def test_an_expired_token_may_come_back(deploy: Any, people: People) -> None:
    """4005 at the start; on a live session the client is warned, may refresh, and is closed when it does not."""
    deployment = await deploy("serve", MINUET_ACCESS_TOKEN_S="10")
    account = await people.account(deployment.url)
    client = people.client(deployment.url)

    ready = await client.start(account["access_token"])
    expiring = await client.wait_for("session.expiring", timeout_s=15)
    async with people.http.post(
        f"{deployment.url}/api/v1/auth/refresh", json={"refresh_token": account["refresh_token"]}
    ) as response:
        fresh = (await response.json())["data"]["access_token"]
    renewed = await client.request("session.refresh", {"token": fresh})

    assert expiring["token_expires_at"] == ready["token_expires_at"]
    assert renewed["token_expires_at"] >= ready["token_expires_at"]
    late = people.client(deployment.url)
    await asyncio.sleep(max(0, ready["token_expires_at"] / 1000 - ready["server_now"] / 1000) + 6)
    await late.open()
    await late.send("session.start", {"token": account["access_token"], "device_id": "d"})
    assert (await late.wait_for("error"))["code"] == "token_expired"
    assert await late.wait_closed() == 4005


async def test_signing_out_everywhere_closes_the_sockets_within_a_second(hub: str, people: People) -> None:
    """4506, on every device."""
    client = await people.online(hub)
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}

    async with people.http.post(f"{hub}/api/v1/auth/logout-all", headers=headers) as response:
        assert response.status < 300

    assert await client.wait_closed() == 4506
    again = people.client(hub)
    await again.open()
    await again.send("session.start", {"token": client.account["access_token"], "device_id": "d"})
    assert await again.wait_closed() in (4502, 4506)


async def test_a_fourth_device_is_too_many(hub: str, people: People) -> None:
    """Three devices at most; the fourth is closed with 4504, the three go on."""
    first = await people.online(hub)
    token = first.account["access_token"]
    for _ in range(2):
        await people.client(hub).start(token)
    fourth = people.client(hub)
    await fourth.open()

    await fourth.send("session.start", {"token": token, "device_id": fourth.device_id})

    assert await fourth.wait_closed() == 4504
    assert await _still_works(first, 5)


async def test_a_ticket_belongs_to_the_device_that_joined(hub: str, people: People) -> None:
    """Another device of the same user can neither join nor leave in its place, and they never meet themselves."""
    phone = await people.online(hub, region="nowhere-else")
    laptop = people.client(hub)
    await laptop.start(phone.account["access_token"])
    await phone.request("queue.join", {"intent": "friends", "preferences": {"regions": ["nowhere-else"]}})

    for message in (("queue.join", {"intent": "friends"}), ("queue.leave", None)):
        assert await refused(laptop, *message) == "wrong_device"

    again = await phone.request("queue.join", {"intent": "friends"})
    assert again["ticket_id"]
    await phone.request("queue.leave")


async def test_a_flood_is_slowed_then_closed(hub: str, people: People) -> None:
    """`rate_limited` with the time to wait; who does not stop is closed with 4007."""
    client = await people.online(hub)

    for number in range(400):
        await client.send("queue.leave", None, number + 1)

    refused = await client.wait_until(lambda m: m["type"] == "error")
    assert refused["data"]["code"] == "rate_limited"
    assert refused["data"]["retryable"] is True
    assert refused["data"]["retry_after_ms"] > 0
    assert await client.wait_closed() in (4006, 4007)


async def test_a_client_that_never_acknowledges_has_to_start_over(hub: str, people: People) -> None:
    """What can no longer be promised is told: 4006, and the resume answers with a fresh snapshot."""
    client = await people.online(hub)
    client.wire.acknowledges = False

    async def chat() -> None:
        for number in range(1, 200):
            await client.send_raw(json.dumps({"type": "queue.leave", "id": number}).encode())
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(chat())
    assert await client.wait_closed(60) == 4006
    sending.cancel()
    answer = await client.resume(client.account["access_token"])
    assert answer["type"] == "session.ready"
    assert answer["data"]["resumed"] is False


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
async def test_foreign_pages_cannot_connect(hub: str, people: People, origin: str) -> None:
    """A server without configured origins lets no browser page in; apps send no Origin."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await people.http.ws_connect(
            hub.replace("http", "ws") + "/v1/ws", protocols=["minuet.v1.json"], headers={"Origin": origin}
        )

    assert caught.value.status == 403


@pytest.mark.parametrize("protocols", [[], ["minuet.v9.json"], ["soap"]])
async def test_an_unknown_subprotocol_is_refused(hub: str, people: People, protocols: list[str]) -> None:
    """HTTP 400, not a silent default."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await people.http.ws_connect(hub.replace("http", "ws") + "/v1/ws", protocols=protocols)

    assert caught.value.status == 400


async def test_a_strict_server_refuses_unknown_fields(deploy: Any, people: People) -> None:
    """In development typos are found; elsewhere they are ignored."""
    strict = await deploy("serve --all-in-one", MINUET_STRICT_MESSAGES="true")
    client = await people.online(strict.url)

    error = await refusal(client, "queue.join", {"intent": "dating", "inten": "x"})

    assert error.code == "invalid_message"
    assert "inten" in error.data["message"]
