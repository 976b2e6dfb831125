"""Connections, messages, blocks and reports over REST, beside the same people's sockets."""

import uuid

import asyncpg
import pytest

from tests.fixtures.deployment import Deployment, People
from tests.fixtures.refusals import refused
from tests.fixtures.waiting import until
from tests.integration.chat.couples import Couple, asked, connect, device_of, hears_nothing, rest
from tests.integration.hub.couples import meet, talk


async def test_the_list_shows_whom_one_knows_and_what_was_said_last(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Each from their own side: the other's profile, the last message, what is unread, who is there."""
    await couple.say(couple.her, "one", "a")
    sent = await couple.say(couple.her, "two", "b")
    await couple.him.request("chat.read", {**couple.named, "up_to": 1})
    (hers,) = await asked(people, house.url, couple.her, "GET /connections")
    (his,) = await asked(people, house.url, couple.him, "GET /connections")
    (made,) = await asked(people, house.url, couple.him, "GET /history/connections")

    assert hers == {
        **couple.named,
        "peer": {"first_name": "Bob", "age": hers["peer"]["age"], "languages": ["en"], "verified": False},
        "made_at": hers["made_at"],
        "last_message": {**sent, "client_id": "b", "from": "self", "body": "two"},
        "unread": 0,
        "read_up_to": 0,
        "peer_read_up_to": 1,
        "presence": "online",
    }
    assert his["last_message"] == {**sent, "client_id": None, "from": "peer", "body": "two"}
    assert (his["unread"], his["read_up_to"], his["peer_read_up_to"]) == (1, 1, 0)
    assert made["peer"] == {"first_name": "Ada"}
    assert made["connection_id"] == couple.connection_id


async def test_lists_come_in_pages(house: Deployment, people: People, couple: Couple) -> None:
    """Connections by what happened last, messages both ways, until there are no more."""
    ids = [couple.connection_id]
    for _ in range(2):
        other = await people.account(house.url, "female")
        ids.append(
            await connect(
                house.environment["MINUET_DATABASE_URL"],
                couple.him.account["user"]["id"],
                other["user"]["id"],
            )
        )
    await couple.say(couple.her)
    for n in range(2, 6):
        await couple.say(couple.him, f"{n}")

    async def walk(path: str, key: str) -> list[str]:
        found, cursor = [], ""
        while True:
            status, page = await rest(people, house.url, couple.him, f"GET {path}?limit=2{cursor}")
            assert status == 200, page
            found += [one[key] for one in page["data"]]
            if not page["meta"]["has_more"]:
                return found
            cursor = f"&cursor={page['meta']['next_cursor']}"

    messages = f"/connections/{couple.connection_id}/messages"
    after = [one["number"] for one in await asked(people, house.url, couple.him, f"GET {messages}?after=3")]

    assert await walk("/connections", "connection_id") == [ids[0], ids[2], ids[1]]
    assert await walk("/history/connections", "connection_id") == [ids[2], ids[1], ids[0]]
    assert await walk(messages, "number") == [5, 4, 3, 2, 1]
    assert after == [4, 5]


async def test_what_is_said_over_rest_is_heard_on_all_devices(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Also on the sender's own; said again it is the same message. Reading works the same way."""
    path, message = f"/connections/{couple.connection_id}", {"client_id": "one", "body": "hello"}
    first = await asked(people, house.url, couple.her, f"POST {path}/messages", message)
    status, again = await rest(people, house.url, couple.her, f"POST {path}/messages", message)
    mine, theirs = await couple.her.wait_for("chat.message"), await couple.him.wait_for("chat.message")
    read = await asked(people, house.url, couple.him, f"POST {path}/read", {"up_to": 1})

    assert (status, again["data"]) == (201, first)
    assert first["from"] == "self"
    assert (mine["id"], mine["client_id"], theirs["id"]) == (first["id"], "one", first["id"])
    assert read == {**couple.named, "up_to": 1, "unread": 0}
    assert (await couple.her.wait_for("chat.read"))["up_to"] == 1
    await hears_nothing(couple.him, "chat.message")
    other = {"client_id": "one", "body": "something else"}
    assert (await rest(people, house.url, couple.her, f"POST {path}/messages", other))[0] == 409


async def test_ending_a_connection_ends_it_for_both_and_tells_the_other_nothing(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Nothing can be sent, read or ended any more, by either; one's own devices hear of it."""
    laptop = await device_of(people, house.url, couple.her)
    await couple.say(couple.him)
    await couple.her.wait_for("chat.message")
    path = f"/connections/{couple.connection_id}"
    await asked(people, house.url, couple.her, f"DELETE {path}")

    for device in (couple.her, laptop):
        assert await device.wait_for("connection.ended") == couple.named
    await hears_nothing(couple.him, "connection.ended", "chat.read", "presence.update")
    for side in (couple.her, couple.him):
        assert (
            await refused(side, "chat.send", {**couple.named, "client_id": "x", "body": "x"})
            == "not_connected"
        )
        assert await asked(people, house.url, side, "GET /connections") == []
        for request, body in (
            (f"GET {path}/messages", None),
            (f"POST {path}/messages", {"client_id": "x", "body": "x"}),
            (f"POST {path}/read", {"up_to": 1}),
            (f"DELETE {path}", None),
        ):
            status, answer = await rest(people, house.url, side, request, body)
            assert (status, answer["error"]["code"]) == (403, "not_connected")
    fresh = await device_of(people, house.url, couple.her)
    assert fresh.ready["snapshot"]["unread"] == {}


async def test_a_block_in_the_middle_of_a_chat_ends_it_at_once(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Whatever is on its way afterwards is refused; unblocking brings nothing back."""
    await couple.say(couple.him, "before")
    answer = await couple.her.request("safety.block", couple.named)
    code = await refused(couple.him, "chat.send", {**couple.named, "client_id": "x", "body": "after"})
    await couple.her.wait_for("connection.ended")

    assert code == "not_connected"
    # It holds at once, and is listed when a worker has written it.
    await until(lambda: asked(people, house.url, couple.her, "GET /blocks"))
    (listed,) = await asked(people, house.url, couple.her, "GET /blocks")
    assert (listed["block_id"], listed["peer"]) == (answer["block_id"], {"first_name": "Bob"})
    assert await asked(people, house.url, couple.him, "GET /blocks") == []
    assert (await rest(people, house.url, couple.him, f"DELETE /blocks/{listed['block_id']}"))[0] == 404
    await asked(people, house.url, couple.her, f"DELETE /blocks/{listed['block_id']}")
    assert await asked(people, house.url, couple.her, "GET /blocks") == []
    for side in (couple.her, couple.him):
        assert (
            await refused(side, "chat.send", {**couple.named, "client_id": "y", "body": "x"})
            == "not_connected"
        )
        assert await asked(people, house.url, side, "GET /connections") == []


async def test_a_block_by_connection_ends_the_call_that_the_two_are_in(
    house: Deployment, people: People
) -> None:
    """From the chat, over REST; he hears of a hangup and of nothing else."""
    her, him, call_id = await meet(people, house.url)
    await talk(her, him, call_id)
    made = await her.request("connect.request", {"call_id": call_id})
    await asked(people, house.url, her, "POST /blocks", {"connection_id": made["connection_id"]})

    assert (await him.wait_for("call.ended", call_id=call_id))["reason"] == "hangup"
    await hears_nothing(him, "connection.ended")
    assert await asked(people, house.url, him, "GET /connections") == []


async def test_a_report_names_the_chat_it_is_about_also_when_it_is_over(
    house: Deployment, people: People, couple: Couple
) -> None:
    """The moderators find what was said; nobody else may report it."""
    report = {**couple.named, "category": "harassment", "note": "rude"}
    await asked(people, house.url, couple.her, "POST /blocks", couple.named)
    made = await asked(people, house.url, couple.her, "POST /reports", report)
    stranger = await people.online(house.url)
    status, answer = await rest(people, house.url, stranger, "POST /reports", report)
    database = await asyncpg.connect(house.environment["MINUET_DATABASE_URL"])
    try:
        for _ in range(600):
            row = await database.fetchrow("SELECT * FROM safety.reports WHERE id = $1", made["report_id"])
            if row is not None:
                break
            await hears_nothing(couple.her, "never", for_s=0.05)
    finally:
        await database.close()

    assert (status, answer["error"]["code"]) == (403, "not_connected")
    assert row is not None
    assert (str(row["connection_id"]), row["call_id"]) == (couple.connection_id, None)
    assert str(row["reported_id"]) == couple.him.account["user"]["id"]


@pytest.mark.parametrize("named", [{}, {"call_id": str(uuid.uuid4()), "connection_id": str(uuid.uuid4())}])
async def test_a_block_names_exactly_one_thing(
    house: Deployment, people: People, couple: Couple, named: dict[str, str]
) -> None:
    """Neither nothing nor two people."""
    status, answer = await rest(people, house.url, couple.her, "POST /blocks", named)

    assert (status, answer["error"]["code"]) == (400, "invalid_message")
    assert await refused(couple.her, "safety.block", named) == "invalid_message"


async def test_a_call_of_long_ago_can_still_be_blocked(house: Deployment, people: People) -> None:
    """Its record is gone from Redis; history knows who it was with, and tells nobody else."""
    her, him, call_id = await meet(people, house.url)
    await talk(her, him, call_id)
    await her.request("call.hangup", {"call_id": call_id})
    database = await asyncpg.connect(house.environment["MINUET_DATABASE_URL"])
    old = str(uuid.uuid4())
    try:
        for _ in range(600):
            if await database.fetchval("SELECT count(*) FROM calls.participants WHERE call_id = $1", call_id):
                break
            await hears_nothing(her, "never", for_s=0.05)
        for table, column in (("calls", "id"), ("participants", "call_id")):
            columns = [
                row["column_name"]
                for row in await database.fetch(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'calls' AND table_name = $1",
                    table,
                )
            ]
            wanted = ", ".join("$2::uuid" if one == column else f'"{one}"' for one in columns)
            await database.execute(
                f"INSERT INTO calls.{table} SELECT {wanted} FROM calls.{table} WHERE {column} = $1",  # noqa: S608  names of our own
                call_id,
                old,
            )
    finally:
        await database.close()
    stranger = await people.online(house.url)

    assert (await rest(people, house.url, stranger, "POST /blocks", {"call_id": old}))[0] == 404
    made = await asked(people, house.url, her, "POST /blocks", {"call_id": old})
    assert made["block_id"]


async def test_staying_in_touch_over_rest_answers_with_the_connection(
    house: Deployment, people: People
) -> None:
    """As the message does, from any device; all devices of both are told."""
    her, him, call_id = await meet(people, house.url)
    await talk(her, him, call_id)
    status, answer = await rest(people, house.url, her, f"POST /interactions/{call_id}/connect")

    assert status == 200
    assert answer["data"] == {
        "connected": True,
        "connection_id": answer["data"]["connection_id"],
        "pending": False,
    }
    for side in (her, him):
        assert (await side.wait_for("connection.made"))["connection_id"] == answer["data"]["connection_id"]
