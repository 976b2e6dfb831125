"""Every close code of the protocol, brought about on real sockets: each can be reached, and means what it says.

Those of the first half let the client come back, which is tried; after the others a client stays away.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import jwt
import pytest

from accounts.model import RevokeReason
from base.errors import CloseCode
from loadtests.swarm.client import Client
from minuet.embedded import EmbeddedValkey
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.revocations import RedisRevocations
from tests.e2e.scripted import pair_up
from tests.fixtures.deployment import SECRET, Deploy, Deployment, Lasting, People

CONFIG = """
least_client_versions = ["old-app:2.0"]
[intents.dating]
call_seconds = 120
decide_after_s = 600
"""
Test = Callable[..., Awaitable[None]]
REACHED: set[CloseCode] = set()


def reaches(*codes: CloseCode) -> Callable[[Test], Test]:
    """Says which codes a test brings about."""
    REACHED.update(codes)
    return lambda test: test


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", config=CONFIG) as deployment:
        yield deployment


@pytest.fixture
def url(deployment: Deployment) -> str:
    return deployment.url


def test_no_code_is_left_out() -> None:
    """A code that nothing sends, or that no test here has seen, is no part of the protocol."""
    assert set(CloseCode) == REACHED


async def opened(people: People, url: str, **first: Any) -> Client:
    """A socket on which `session.start` was said, with these fields beside or instead of the usual."""
    client = people.client(url)
    await client.open()
    await client.send("session.start", {"device_id": client.device_id, **first})
    return client


async def comes_back(client: Client) -> str:
    answer = await client.resume(client.account["access_token"])
    return str(answer["type"])


@reaches(CloseCode.NORMAL)
async def test_who_ends_the_session_is_closed_with_1000(url: str, people: People) -> None:
    """And nothing is left to come back to."""
    client = await people.online(url)
    await client.send("session.end", None, client.wire.next_id())

    assert await client.wait_closed() == 1000
    assert await comes_back(client) == "session.ready"


@reaches(CloseCode.INTERNAL)
async def test_what_the_server_cannot_do_now_is_4000(
    private_valkey: EmbeddedValkey, deploy: Deploy, people: People
) -> None:
    """Without its store nobody can be let in; the error says that it is worth another try."""
    deployment = await deploy("serve", MINUET_REDIS_URL=private_valkey.url)
    account = await people.account(deployment.url)
    await private_valkey.kill()
    client = await opened(people, deployment.url, token=account["access_token"])
    error = await client.wait_for("error", 20)

    assert await client.wait_closed() == 4000
    assert (error["code"], error["retryable"]) == ("unavailable", True)


@reaches(CloseCode.DRAIN)
async def test_a_node_that_ends_closes_with_4001(deploy: Deploy, people: People) -> None:
    """After `session.drain`; the session goes on elsewhere."""
    deployment = await deploy("serve", "serve")
    first, second = deployment.processes
    client = await people.online(first.public)
    os.kill(first.pid, signal.SIGTERM)
    drain = await client.wait_for("session.drain")

    assert await client.wait_closed() == 4001
    client._url = second.public.replace("http", "ws", 1) + "/v1/ws"
    assert await comes_back(client) == "session.resumed"
    assert 0 <= drain["reconnect_after_ms"] < 3_000


@reaches(CloseCode.NO_PONG)
async def test_who_is_silent_is_closed_with_4002(url: str, people: People) -> None:
    """In a call after 9 s without a word, not even a `pong`."""
    pair = await pair_up(people, url)
    await pair.talk()
    silent = asyncio.create_task(pair.him.wait_closed())
    pair.him.wire.acknowledges = False
    # It still reads, and answers nothing.
    pair.him.send = _says_nothing  # type: ignore[method-assign]  # falls silent

    assert await silent == 4002
    del pair.him.send
    pair.him.wire.acknowledges = True
    assert await comes_back(pair.him) == "session.resumed"


async def _says_nothing(*_arguments: object) -> None:
    return


# On sockets that are full; see `test_readers_that_stop`, which takes its time.
REACHED.add(CloseCode.TOO_SLOW)


@reaches(CloseCode.NO_START)
async def test_who_does_not_begin_is_closed_with_4004(url: str, people: People) -> None:
    """After 5 s."""
    client = people.client(url)
    await client.open()

    assert await client.wait_closed() == 4004


@reaches(CloseCode.TOKEN_EXPIRED)
async def test_a_token_that_ran_out_is_4005(url: str, people: People) -> None:
    """A newer one is all that it takes."""
    account = await people.account(url)
    fresh = account["access_token"]
    claims = jwt.decode(fresh, options={"verify_signature": False})
    times = {name: claims[name] - 3_600 for name in ("iat", "exp")}
    stale = jwt.encode({**claims, **times}, SECRET, "HS256", headers=jwt.get_unverified_header(fresh))
    client = await opened(people, url, token=stale)
    error = await client.wait_for("error")

    assert error["code"] == "token_expired"
    assert await client.wait_closed() == 4005
    assert (await client.start(fresh))["resumed"] is False


@reaches(CloseCode.RESYNC)
async def test_what_cannot_be_kept_any_more_is_4006(url: str, people: People) -> None:
    """Nobody acknowledges 128 answers: the client begins anew, with a snapshot."""
    client = await people.online(url)
    client.wire.acknowledges = False
    for number in range(1, 140):
        await client.send("queue.leave", None, number)
        await asyncio.sleep(0.06)
        if client._closed is not None:
            break

    assert await client.wait_closed() == 4006
    assert await comes_back(client) == "session.ready"


@reaches(CloseCode.RATE)
async def test_who_floods_is_closed_with_4007(url: str, people: People) -> None:
    """Refusals come first; who takes no notice goes."""
    client = await people.online(url)
    request_id = client.wire.next_id()
    for _ in range(300):
        # Repeats are not answered, so that no outbox fills.
        await client.send("queue.leave", None, request_id)

    assert await client.wait_closed() == 4007
    assert await comes_back(client) == "session.resumed"


@reaches(CloseCode.PROTOCOL_ERROR)
async def test_who_breaks_the_protocol_is_closed_with_4500(url: str, people: People) -> None:
    """A binary frame on the text protocol: no second try would be better."""
    client = await people.online(url)
    await client.send_raw(b"{}", binary=True)

    assert await client.wait_closed() == 4500


@reaches(CloseCode.SUPERSEDED)
async def test_the_older_connection_of_a_device_is_closed_with_4501(deploy: Deploy, people: People) -> None:
    """On the same node, and on another: the newest session of a device wins wherever it is."""
    deployment = await deploy("serve", "serve")
    first, second = deployment.processes
    oldest = await people.online(first.public)
    middle = people.client(first.public, device_id=oldest.device_id)
    await middle.start(oldest.account["access_token"])
    newest = people.client(second.public, device_id=oldest.device_id)
    await newest.start(oldest.account["access_token"])

    assert await oldest.wait_closed() == 4501
    assert await middle.wait_closed() == 4501
    said = [message["type"] for message in middle.inbox if message["type"] != "ping"]
    assert said == ["session.superseded"]
    assert await newest.request("presence.set", {"away": False}) is not None


@reaches(CloseCode.BAD_TOKEN)
async def test_a_token_that_is_none_is_4502(url: str, people: People) -> None:
    """Its typed error comes first."""
    client = await opened(people, url, token="nonsense")
    error = await client.wait_for("error")

    assert error["code"] == "unauthenticated"
    assert await client.wait_closed() == 4502


@reaches(CloseCode.BANNED)
async def test_who_is_banned_is_closed_with_4503(deploy: Deploy, people: People, redis_url: str) -> None:
    """Within a second of the ban, on a live socket."""
    deployment = await deploy("serve")
    client = await people.online(deployment.url)
    redis = connect(redis_url)
    revocations = RedisRevocations(redis, Keys(), access_s=900)
    await revocations.revoke_user(
        client.account["user"]["id"], round(time.time() * 1000) + 1, RevokeReason.BAN
    )
    closed_with = await client.wait_closed()
    await redis.aclose()

    assert closed_with == 4503


@reaches(CloseCode.TOO_MANY_DEVICES)
async def test_a_fourth_device_is_closed_with_4504(url: str, people: People) -> None:
    """Three are let in."""
    first = await people.online(url)
    token = first.account["access_token"]
    for _ in range(2):
        await people.client(url).start(token)
    fourth = await opened(people, url, token=token)

    assert await fourth.wait_closed() == 4504


@reaches(CloseCode.VERSION)
async def test_a_client_that_is_too_old_is_closed_with_4505(url: str, people: People) -> None:
    """Whatever else it says; one that is new enough is let in."""
    account = await people.account(url)
    old = await opened(
        people, url, token=account["access_token"], client={"name": "old-app", "version": "1.9.9"}
    )
    new = await opened(
        people, url, token=account["access_token"], client={"name": "old-app", "version": "2.0.0"}
    )

    assert await old.wait_closed() == 4505
    assert (await new.wait_for("session.ready"))["session_id"]


@reaches(CloseCode.REVOKED)
async def test_who_signs_out_everywhere_is_closed_with_4506(url: str, people: People) -> None:
    """Within two seconds."""
    client = await people.online(url)
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with people.http.post(f"{url}/api/v1/auth/logout-all", headers=headers) as response:
        assert response.status < 300

    assert await client.wait_closed() == 4506
