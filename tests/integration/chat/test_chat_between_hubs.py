"""Chat between hubs, and while something is away: PostgreSQL, Redis, a hub."""

import asyncio
import urllib.request

import asyncpg
import pytest

from loadtests.swarm.client import Client
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.migrations import migrate
from tests.fixtures.deployment import Deploy, Deployment, People
from tests.fixtures.refusals import refused
from tests.fixtures.waiting import until
from tests.integration.chat.conftest import UNHURRIED
from tests.integration.chat.couples import Couple, asked, connected, device_of, hears_nothing, rest
from tests.integration.hub.couples import talk

LATE_S = 30.0
"""After an outage: retries wait for up to ten seconds."""


def hubs_of(deployment: Deployment) -> list[str]:
    return [process.public for process in deployment.processes if process.public]


async def test_two_hubs_and_three_devices_carry_one_chat(
    deploy: Deploy, people: People, database_url: str
) -> None:
    """His two devices are on different hubs; messages, marks, typing and presence cross over, and so does the end."""
    here, there = hubs_of(await deploy("serve", "serve"))
    couple = await connected(people, database_url, here, there)
    near = await device_of(people, here, couple.him)
    watching = {"connection_ids": [couple.connection_id]}
    for side in (couple.her, couple.him):
        await side.request("presence.watch", watching)
        await side.wait_for("presence.update", presence="online")

    sent = await couple.say(couple.her, "from here")
    for device in (couple.him, near):
        assert (await device.wait_for("chat.message"))["id"] == sent["id"]
    answered = await couple.say(couple.him, "from there", "mine")
    assert (await couple.her.wait_for("chat.message"))["number"] == answered["number"] == 2
    assert (await near.wait_for("chat.message"))["client_id"] == "mine"
    await near.request("chat.read", {**couple.named, "up_to": 1})
    assert (await couple.him.wait_for("chat.read"))["by"] == "self"
    assert (await couple.her.wait_for("chat.read"))["up_to"] == 1
    await couple.her.send("chat.typing", couple.named)
    for device in (couple.him, near):
        await device.wait_for("chat.typing")
    await near.close()
    await hears_nothing(couple.her, "presence.update", for_s=1.5)
    await asked(people, there, couple.him, f"DELETE /connections/{couple.connection_id}")
    for side in (couple.her, couple.him):
        await side.wait_for("presence.update", presence="offline")
    assert (
        await refused(couple.her, "chat.send", {**couple.named, "client_id": "x", "body": "x"})
        == "not_connected"
    )


async def test_a_connection_is_told_on_both_hubs_once(
    deploy: Deploy, people: People, database_url: str
) -> None:
    """Also when both had to want it; the worker that records the call later has nothing to add."""
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=UNHURRIED)
    here, there = hubs_of(deployment)
    her, him = await people.online(here, "female"), await people.online(there, "male")
    for side in (her, him):
        await side.request("queue.join", {"intent": "friends"})
    call_id = (await her.wait_for("match.found"))["call_id"]
    await him.wait_for("match.found")
    await talk(*(await by_seat(her, him, call_id)), call_id)
    await her.request("connect.request", {"call_id": call_id})
    made = await him.request("connect.request", {"call_id": call_id})

    for side in (her, him):
        told = await side.wait_for("connection.made")
        assert (told["call_id"], told["connection_id"]) == (call_id, made["connection_id"])
    await her.wait_for("call.ended", call_id=call_id)
    await asyncio.gather(*(hears_nothing(side, "connection.made", for_s=3.0) for side in (her, him)))


async def by_seat(her: Client, him: Client, call_id: str) -> tuple[Client, Client]:
    """The one who offers first."""
    state = await her.wait_for("call.state", call_id=call_id)
    return (her, him) if state["offerer"] else (him, her)


async def test_what_a_dying_hub_did_not_answer_is_sent_again_to_another(
    deploy: Deploy, people: People, database_url: str
) -> None:
    """Kept by the first or not: it is there once, and whoever has not heard of it hears."""
    deployment = await deploy("serve", "serve")
    here, there = hubs_of(deployment)
    couple = await connected(people, database_url, here, there)
    hub = next(process for process in deployment.processes if process.public == here)
    messages = [{**couple.named, "client_id": f"{n}", "body": f"{n}"} for n in range(6)]
    for message in messages:
        await couple.her.send("chat.send", message, couple.her.wire.next_id())
    await couple.him.wait_for("chat.message")
    await hub.kill()
    back = people.client(there, device_id=couple.her.device_id)
    await back.start(couple.her.account["access_token"])
    answers = [await back.request("chat.send", message) for message in messages]
    kept = await asked(people, there, couple.him, f"GET /connections/{couple.connection_id}/messages?after=0")

    assert [one["body"] for one in kept] == [f"{n}" for n in range(6)]
    assert [one["number"] for one in answers] == list(range(1, 7))
    heard = {answers[0]["id"]} | {m["data"]["id"] for m in couple.him.inbox if m["type"] == "chat.message"}
    while len(heard) < 6:
        heard.add((await couple.him.wait_for("chat.message"))["id"])
    assert heard == {one["id"] for one in answers}


@pytest.fixture
async def own_database(private_postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    await migrate(private_postgres.url)
    return private_postgres


SLOW_CALLS = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.5
deciding_s = 20.0
"""


async def live_call(people: People, url: str, intent: str = "dating") -> tuple[Client, Client, str]:
    her, him = await people.online(url, "female"), await people.online(url, "male")
    for side in (her, him):
        await side.request("queue.join", {"intent": intent})
    call_id = (await her.wait_for("match.found"))["call_id"]
    await him.wait_for("match.found")
    await talk(*(await by_seat(her, him, call_id)), call_id)
    return her, him, call_id


async def test_a_connection_that_is_wished_for_while_the_database_is_away_is_made_when_it_is_back(
    deploy: Deploy, people: People, own_database: EmbeddedPostgres
) -> None:
    """The reply says so; both are told once, when there is something to chat in."""
    url = (await deploy("serve --all-in-one", config=SLOW_CALLS, MINUET_DATABASE_URL=own_database.url)).url
    her, him, call_id = await live_call(people, url)
    await own_database.kill()

    assert await her.request("connect.request", {"call_id": call_id}) == {"connected": True, "pending": True}
    assert await her.request("connect.request", {"call_id": call_id}) == {"connected": True, "pending": True}
    path = f"POST /interactions/{call_id}/connect"
    assert [(await rest(people, url, her, path))[0] for _ in range(2)] == [202, 202]
    await him.wait_for("call.state", call_id=call_id, connected=True)
    await her.request("call.hangup", {"call_id": call_id})
    await hears_nothing(him, "connection.made", for_s=1.0)
    await own_database.start()
    told = [await side.wait_for("connection.made", LATE_S, call_id=call_id) for side in (her, him)]

    couple = Couple(her, him, told[0]["connection_id"])
    assert told[1]["connection_id"] == couple.connection_id
    assert (await couple.say(him))["number"] == 1
    await asyncio.gather(*(hears_nothing(side, "connection.made", for_s=3.0) for side in (her, him)))


async def test_two_who_block_each_other_while_their_connection_waits_get_none(
    deploy: Deploy, people: People, own_database: EmbeddedPostgres
) -> None:
    """And the other couple, who wished at the same time, gets theirs; nobody is told why."""
    url = (await deploy("serve --all-in-one", config=SLOW_CALLS, MINUET_DATABASE_URL=own_database.url)).url
    her, him, call_id = await live_call(people, url)
    ada, bob, other_call = await live_call(people, url)
    await own_database.kill()
    for client, call in ((her, call_id), (ada, other_call)):
        assert (await client.request("connect.request", {"call_id": call}))["pending"] is True
    await him.request("safety.block", {"call_id": call_id})
    assert (await her.wait_for("call.ended"))["reason"] == "hangup"
    await ada.request("call.hangup", {"call_id": other_call})
    await own_database.start()
    await bob.wait_for("connection.made", LATE_S, call_id=other_call)

    database = await asyncpg.connect(own_database.url)
    try:

        async def recorded() -> bool:
            written = await database.fetchval("SELECT count(*) FROM calls.calls")
            blocks = await database.fetchval("SELECT count(*) FROM safety.blocks")
            return bool(written == 2 and blocks == 1)

        await until(recorded, LATE_S)
        pairs = await database.fetch("SELECT call_id FROM chat.connections")
    finally:
        await database.close()
    assert [str(row["call_id"]) for row in pairs] == [other_call]
    again = await her.request("connect.request", {"call_id": call_id})
    assert again == {"connected": True, "pending": True}
    await asyncio.gather(*(hears_nothing(side, "connection.made", for_s=2.0) for side in (her, him)))


async def test_while_the_database_is_away_nothing_is_said_that_is_not_kept(
    deploy: Deploy, people: People, own_database: EmbeddedPostgres
) -> None:
    """Refused, retryable; sent again it is there. Sessions start and calls could go on all the while."""
    url = (await deploy("serve --all-in-one", MINUET_DATABASE_URL=own_database.url)).url
    couple = await connected(people, own_database.url, url)
    kept = await couple.say(couple.her, "before")
    await own_database.kill()
    message = {**couple.named, "client_id": "one", "body": "during"}

    assert await refused(couple.her, "chat.send", message) == "unavailable"
    assert await refused(couple.him, "chat.read", {**couple.named, "up_to": 1}) == "unavailable"
    assert (await rest(people, url, couple.her, "GET /connections"))[0] == 503
    during = await device_of(people, url, couple.him)
    assert during.ready["snapshot"]["unread"] is None
    await own_database.start()

    async def sends() -> bool:
        try:
            await couple.her.request("chat.send", message)
        except Exception as error:
            assert getattr(error, "code", "") == "unavailable"
            return False
        return True

    await until(sends, LATE_S)
    heard = [await couple.him.wait_for("chat.message") for _ in range(2)]
    assert [one["body"] for one in heard] == ["before", "during"]
    assert heard[0]["id"] == kept["id"]
    after = await device_of(people, url, couple.him)
    assert after.ready["snapshot"]["unread"] == {couple.connection_id: 2}


async def test_while_redis_is_away_what_is_kept_is_found_later(
    deploy: Deploy, people: People, private_valkey: EmbeddedValkey, database_url: str
) -> None:
    """Who is on the same hub hears of it at once; who is elsewhere finds it by the gap and in the next snapshot."""
    here, there = hubs_of(await deploy("serve", "serve", MINUET_REDIS_URL=private_valkey.url))
    couple = await connected(people, database_url, here, there)
    near = await device_of(people, here, couple.him)
    await private_valkey.kill()
    sent = await couple.say(couple.her, "during")

    assert (await near.wait_for("chat.message"))["id"] == sent["id"]
    await hears_nothing(couple.him, "chat.message")
    await private_valkey.start()

    missed: list[str] = []

    async def is_back() -> bool:
        """Sign-outs have been looked up again, so that he may read there."""
        path = f"/connections/{couple.connection_id}/messages?after=0"
        status, answer = await rest(people, there, couple.him, f"GET {path}")
        missed[:] = [one["id"] for one in answer["data"]] if status == 200 else []
        return status == 200

    await until(is_back, LATE_S)
    assert missed == [sent["id"]]
    later = people.client(there)
    await later.start(couple.him.account["access_token"])
    assert later.ready["snapshot"]["unread"] == {couple.connection_id: 1}


async def test_what_people_say_is_in_no_log_and_no_metric(
    deploy: Deploy, people: People, database_url: str
) -> None:
    """Neither what was sent nor what was refused, at the most talkative level, in any process."""
    canary = "canary-7d31f0"
    deployment = await deploy("serve --all-in-one", MINUET_LOG_LEVEL="debug")
    url = deployment.url
    couple = await connected(people, database_url, url)
    await couple.say(couple.her, f"a {canary}", "one")
    await couple.him.wait_for("chat.message")
    for client_id, body in (("one", f"another {canary}"), ("two", f"{canary}\x00"), ("three", canary * 200)):
        await refused(couple.her, "chat.send", {**couple.named, "client_id": client_id, "body": body})
    await refused(couple.her, "chat.send", {**couple.named, "client_id": "four", "body": {"x": canary}})
    path = f"/connections/{couple.connection_id}/messages"
    assert (
        await rest(people, url, couple.her, f"POST {path}", {"client_id": "five", "body": f"{canary}\x07"})
    )[0] == 400
    await asked(people, url, couple.her, f"POST {path}", {"client_id": "six", "body": canary})
    await couple.her.request("safety.report", {**couple.named, "category": "spam", "note": canary})
    await couple.her.request("safety.block", couple.named)
    await refused(couple.him, "chat.send", {**couple.named, "client_id": "seven", "body": canary})
    (process,) = deployment.processes
    metrics = await asyncio.to_thread(_read, f"{process.admin}/metrics")
    await deployment.stop()
    logs = process.log.read_text(errors="replace")

    assert 'minuet_chat_messages_total{result="new"} 2.0' in metrics
    assert canary not in metrics
    assert "session started" in logs
    assert canary not in logs


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  loopback
        text: str = answer.read().decode()
        return text
