"""What two people say and who they are stands where it has to, and nowhere else: planted words are looked for everywhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from loadtests.swarm.client import Message, RequestRefused
from storage.redis.client import connect
from tests.e2e.scripted import Pair, match
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.sdp import VOICE, audio, description, video

# Nothing runs out while a busy machine takes its time.
CONFIG = """
[intents.dating]
proposed_s = 120
connecting_s = 120
reconnecting_s = 120
negotiation_s = 120
call_seconds = 600
decide_after_s = 600
"""
THEIR_ADDRESS = "203.0.113.61"
CANDIDATE = "203.0.113.62"
IN_SDP = "c4n4ry-of-a-description"
JUNK = "c4n4ry-of-junk"
MESSAGE = "c4n4ry-of-a-message"
NOTE = "c4n4ry-of-a-note"
PASSWORD = "c4n4ry of a password"
MAIL = "c4n4ry-of-an-address"

# Of these nothing is kept, wherever one looks.
PASSING = (IN_SDP, CANDIDATE, JUNK, PASSWORD)


@pytest.fixture
async def people() -> AsyncIterator[People]:
    """They come over a proxy, which names the address that they have."""
    async with aiohttp.ClientSession(headers={"X-Forwarded-For": THEIR_ADDRESS}) as http:
        crowd = People(http)
        yield crowd
        await asyncio.gather(*(client.close() for client in crowd.clients), return_exceptions=True)


async def pair_of(people: People, url: str) -> Pair:
    her, him = [
        await people.online(url, gender, email=f"{MAIL}-{gender}@example.org", password=PASSWORD)
        for gender in ("female", "male")
    ]
    return await match(her, him, "dating", {})


async def refusal(coroutine: Awaitable[Message]) -> str:
    with pytest.raises(RequestRefused) as caught:
        await coroutine
    return str(caught.value.code)


async def say_everything(pair: Pair) -> None:
    """Descriptions good and bad, candidates, junk, a message, a complaint: each with its word in it."""
    her, him = pair.both
    for side in pair.both:
        await side.request("call.accept", pair.call)
    for side in pair.both:
        await side.wait_for("call.ice_servers", **pair.call)
    sdp = f"{VOICE}a=x-{IN_SDP}:1\r\n"
    await pair.negotiate(her, him, 1, sdp)
    candidate = {"candidate": f"candidate:1 1 udp 2122260223 {CANDIDATE} 50000 typ host", "mid": "0"}
    await her.request(
        "call.candidates", {**pair.call, "negotiation": 1, "of": "self", "candidates": [candidate]}
    )
    heard = await him.wait_for("call.candidates", **pair.call)
    assert CANDIDATE in heard["candidates"][0]["candidate"]
    await pair.go_live()

    seen = f"{description(audio(), video())}a=x-{IN_SDP}:1\r\n"
    for number, (bad, code) in enumerate(((f"{sdp}{IN_SDP}", "sdp_invalid"), (seen, "video_not_allowed")), 2):
        offer = {**pair.call, "negotiation": number, "sdp": bad}
        assert await refusal(him.request("call.offer", offer)) == code
    assert await refusal(her.request(JUNK)) == "unknown_type"
    assert await refusal(her.request("queue.join", {"intent": JUNK})) != "internal"
    assert (
        await refusal(her.request("call.media", {**pair.call, "state": JUNK, JUNK: 1})) == "invalid_message"
    )
    await her.send_raw(b'{"type": "' + JUNK.encode())

    await her.request("connect.request", pair.call)
    made = await him.wait_for("connection.made", **pair.call)
    said = {"connection_id": made["connection_id"], "client_id": "one", "body": MESSAGE}
    await her.request("chat.send", said)
    assert (await him.wait_for("chat.message"))["body"] == MESSAGE
    await him.request("safety.report", {**pair.call, "category": "spam", "note": NOTE})


async def in_redis(url: str) -> list[str]:
    """Each key with all that is under it."""
    redis = connect(url)
    reads: dict[bytes, Callable[[bytes], Awaitable[Any]]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    kinds = [(key, await redis.type(key)) for key in await redis.keys("*")]
    found = [f"{key!r} {await reads[kind](key)!r}" for key, kind in kinds if kind != b"none"]
    await redis.aclose()
    return found


async def in_postgres(url: str) -> list[str]:
    """Each row, with the name of its table in front."""
    connection = await asyncpg.connect(url)
    tables = await connection.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('accounts', 'calls', 'chat', 'safety')"
    )
    rows = [
        f"{table['name']} {row[0]}"
        for table in tables
        for row in await connection.fetch(f"SELECT of_it::text FROM {table['name']} AS of_it")  # noqa: S608  # names of tables that the database gave us
    ]
    await connection.close()
    return rows


async def told_to_operators(deployment: Deployment) -> list[str]:
    """All logs, and what each process tells of itself."""
    told = [process.log.read_text() for process in deployment.processes]
    async with aiohttp.ClientSession() as http:
        for process in deployment.processes:
            for path in ("metrics", "readyz"):
                async with http.get(f"{process.admin}/{path}") as answer:
                    told.append(await answer.text())
    return told


def where(word: str, texts: Iterable[str]) -> set[str]:
    """The beginnings of the texts that have a word, as it is or as bytes in a column."""
    return {text.split(" ")[0] for text in texts if word in text or word.encode().hex() in text}


async def test_what_two_people_say_is_kept_where_it_belongs_and_told_to_nobody_else(
    deploy: Deploy, people: People
) -> None:
    """Logs at their most talkative, metrics, both stores: in the middle of the call, and when it is history."""
    deployment = await deploy(
        "serve",
        "matchmaker",
        "worker",
        config=CONFIG,
        MINUET_LOG_LEVEL="debug",
        MINUET_TRUSTED_PROXIES="127.0.0.1/32",
    )
    redis_url, database_url = (deployment.environment[f"MINUET_{name}_URL"] for name in ("REDIS", "DATABASE"))
    pair = await pair_of(people, deployment.url)
    guess = {"email": pair.her.account["email"], "password": f"not the {PASSWORD}"}
    assert (await people.http.post(f"{deployment.url}/api/v1/auth/login", json=guess)).status == 401
    await say_everything(pair)
    tokens = [side.account[name] for side in pair.both for name in ("access_token", "refresh_token")]
    meanwhile = await in_redis(redis_url)
    await pair.her.request("call.hangup", pair.call)
    history = f"{deployment.url}/api/v1/history/interactions"
    headers = {"Authorization": f"Bearer {pair.her.account['access_token']}"}
    async with asyncio.timeout(120):
        while not (await (await people.http.get(history, headers=headers)).json())["data"]:
            await asyncio.sleep(0.1)
        while not where(NOTE, rows := await in_postgres(database_url)):
            await asyncio.sleep(0.1)
    kept, told = await in_redis(redis_url), await told_to_operators(deployment)
    everywhere = [*meanwhile, *kept, *rows, *told]

    assert [word for word in (*PASSING, *tokens) if where(word, everywhere)] == []
    # Who guesses is remembered by address, for an hour; nobody else is.
    assert where(THEIR_ADDRESS, [*rows, *told]) == set()
    (guesser,) = where(THEIR_ADDRESS, kept)
    assert "login-pair" in guesser
    assert [word for word in (MESSAGE, MAIL) if where(word, [*meanwhile, *kept])] == []
    assert where(MESSAGE, rows) == {"chat.messages"}
    assert where(NOTE, rows) == {"safety.reports"}
    assert where(MAIL, rows) == {"accounts.users"}
    assert [word for word in (MESSAGE, NOTE, MAIL) if where(word, told)] == []
    # What is looked through is what there is.
    assert where(pair.call_id, rows) >= {"calls.calls", "calls.participants", "safety.reports"}
    assert where(pair.call_id, meanwhile)
    assert where(pair.call_id, told)
    assert any("minuet_ws_connections" in text for text in told)
    # One object a line, whoever writes it, with what it is about.
    lines = [
        orjson.loads(line)
        for process in deployment.processes
        for line in process.log.read_bytes().splitlines()
    ]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert {"request_id", "session_id", "call_id"} <= {name for line in lines for name in line}
