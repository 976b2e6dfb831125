"""Chat as two people have it: connections, messages, read marks, typing, over a real hub."""

import asyncio

import pytest

from tests.fixtures.deployment import Deployment, People
from tests.fixtures.refusals import refused
from tests.integration.chat.couples import Couple, asked, device_of, hears_nothing
from tests.integration.hub.couples import meet, talk


async def test_a_connection_made_in_a_call_opens_the_chat_in_the_middle_of_it(
    house: Deployment, people: People
) -> None:
    """Both are told once, on all devices, and write to each other while they talk."""
    her, him, call_id = await meet(people, house.url)
    tablet = await device_of(people, house.url, him)
    await talk(her, him, call_id)

    made = await her.request("connect.request", {"call_id": call_id})
    told = [await side.wait_for("connection.made", call_id=call_id) for side in (her, him, tablet)]
    again = await her.request("connect.request", {"call_id": call_id})

    assert made == again == {"connected": True, "connection_id": made["connection_id"], "pending": False}
    assert {one["connection_id"] for one in told} == {made["connection_id"]}
    assert told[0]["peer"] == {
        "first_name": "Sam",
        "age": told[0]["peer"]["age"],
        "languages": ["en"],
        "verified": False,
    }
    sent = await Couple(her, him, made["connection_id"]).say(him, "hello")
    heard = await her.wait_for("chat.message")
    assert (heard["id"], heard["number"], heard["from"], heard["unread"]) == (sent["id"], 1, "peer", 1)
    assert (await him.wait_for("call.ended", call_id=call_id))["reason"] == "completed"
    # The recorder has written the call by now, and the sweep has looked.
    await asyncio.gather(*(hears_nothing(side, "connection.made", for_s=2.0) for side in (her, him, tablet)))


async def test_a_lone_wish_in_a_mutual_call_makes_nothing(house: Deployment, people: People) -> None:
    """The second makes the connection, and both hear of it."""
    her, him, call_id = await meet(people, house.url, "friends")
    await talk(her, him, call_id)

    assert await him.request("connect.request", {"call_id": call_id}) == {"connected": False}
    assert await asked(people, house.url, him, "GET /connections") == []
    made = await her.request("connect.request", {"call_id": call_id})

    assert made["connected"] is True
    for side in (her, him):
        assert (await side.wait_for("connection.made"))["connection_id"] == made["connection_id"]


async def test_a_message_reaches_every_device_of_both(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Each sees it from its own side; the one that sent it has its answer and no echo."""
    laptop, tablet = (
        await device_of(people, house.url, couple.her),
        await device_of(people, house.url, couple.him),
    )

    sent = await couple.say(couple.her, "  hello\nthere ", "one")
    mine = await laptop.wait_for("chat.message")
    theirs = [await side.wait_for("chat.message") for side in (couple.him, tablet)]

    common = {**couple.named, **sent, "body": "hello\nthere"}
    assert mine == {**common, "from": "self", "client_id": "one", "unread": None}
    assert theirs == [{**common, "from": "peer", "client_id": None, "unread": 1}] * 2
    await hears_nothing(couple.her, "chat.message")


async def test_nothing_is_told_that_is_not_kept(house: Deployment, people: People, couple: Couple) -> None:
    """Whoever hears of a message finds it."""
    for number in range(1, 6):
        sending = asyncio.create_task(couple.say(couple.her, f"{number}"))
        heard = await couple.him.wait_for("chat.message")
        kept = await asked(
            people, house.url, couple.him, f"GET /connections/{couple.connection_id}/messages?limit=1"
        )
        await sending

        assert (kept[0]["id"], kept[0]["number"]) == (heard["id"], number)


async def test_messages_of_both_come_in_one_order(couple: Couple) -> None:
    """Two write at once: the numbers are the same for both, without gaps, each side's own in the order of sending."""

    async def chatter(side: str) -> list[int]:
        client = couple.her if side == "her" else couple.him
        return [(await couple.say(client, f"{side} {n}"))["number"] for n in range(8)]

    hers, his = await asyncio.gather(chatter("her"), chatter("him"))
    heard_by_him = [await couple.him.wait_for("chat.message") for _ in range(8)]
    heard_by_her = [await couple.her.wait_for("chat.message") for _ in range(8)]

    assert sorted(hers + his) == list(range(1, 17))
    assert hers == sorted(hers)
    assert [one["number"] for one in heard_by_him] == hers
    assert [one["number"] for one in heard_by_her] == his


async def test_a_message_that_is_sent_again_is_one_message(couple: Couple) -> None:
    """The same answer, and nobody hears it twice; another text under the same name is a conflict."""
    first = await couple.say(couple.her, "hello", "one")
    again = await couple.say(couple.her, "hello", "one")
    await couple.him.wait_for("chat.message")

    assert first == again
    await hears_nothing(couple.him, "chat.message")
    changed = {**couple.named, "client_id": "one", "body": "another"}
    assert await refused(couple.her, "chat.send", changed) == "conflict"


async def test_a_message_is_sent_again_after_a_cut_and_is_there_once(
    house: Deployment, people: People, couple: Couple
) -> None:
    """The answer was lost with the socket, and the session with it: a new session sends the same."""
    message = {**couple.named, "client_id": "one", "body": "hello"}
    await couple.her.send("chat.send", message, couple.her.wire.next_id())
    await couple.her.drop()
    await couple.him.wait_for("chat.message")
    back = people.client(house.url, device_id=couple.her.device_id)
    await back.start(couple.her.account["access_token"])

    again = await back.request("chat.send", message)

    assert again["number"] == 1
    kept = await asked(people, house.url, couple.her, f"GET /connections/{couple.connection_id}/messages")
    assert [one["id"] for one in kept] == [again["id"]]
    await hears_nothing(couple.him, "chat.message")


async def test_a_lost_device_finds_its_messages_when_it_resumes(couple: Couple) -> None:
    """They wait in its session like everything that is reliable."""
    await couple.him.drop()
    sent = [await couple.say(couple.her, f"{n}") for n in range(3)]

    answer = await couple.him.resume(couple.him.account["access_token"])
    heard = [await couple.him.wait_for("chat.message") for _ in range(3)]

    assert answer["type"] == "session.resumed"
    assert [one["id"] for one in heard] == [one["id"] for one in sent]


async def test_unread_counts_are_in_the_snapshot_and_follow_the_read_mark(
    house: Deployment, people: People, couple: Couple
) -> None:
    """Both hear how far somebody has read; the count goes to the reader's own devices."""
    tablet = await device_of(people, house.url, couple.him)
    assert tablet.ready["snapshot"]["unread"] == {}
    for n in range(4):
        await couple.say(couple.her, f"{n}")
    later = await device_of(people, house.url, couple.him)
    await later.close()
    read = await couple.him.request("chat.read", {**couple.named, "up_to": 3})
    hers, mine = await couple.her.wait_for("chat.read"), await tablet.wait_for("chat.read")
    last = await device_of(people, house.url, couple.him)

    assert later.ready["snapshot"]["unread"] == {couple.connection_id: 4}
    assert read == {"up_to": 3, "unread": 1}
    assert hers == {**couple.named, "by": "peer", "up_to": 3, "unread": None}
    assert mine == {**couple.named, "by": "self", "up_to": 3, "unread": 1}
    assert last.ready["snapshot"]["unread"] == {couple.connection_id: 1}
    assert await couple.him.request("chat.read", {**couple.named, "up_to": 1}) == read
    await hears_nothing(couple.her, "chat.read")


async def test_typing_is_shown_to_the_others_and_never_answered(
    house: Deployment, people: People, couple: Couple
) -> None:
    """It is ephemeral, whoever it is for; too much of it is dropped, and what goes nowhere is not refused."""
    laptop = await device_of(people, house.url, couple.her)
    seen = couple.him.last_seq
    await couple.her.send("chat.typing", couple.named)

    shown = await couple.him.wait_until(lambda message: message["type"] == "chat.typing")
    mine = await laptop.wait_for("chat.typing")

    assert "seq" not in shown
    assert shown["data"] == {**couple.named, "from": "peer"}
    assert mine == {**couple.named, "from": "self"}
    assert couple.him.last_seq == seen
    for _ in range(30):
        await couple.her.send("chat.typing", couple.named)
    await couple.her.send("chat.typing", {"connection_id": "01890000-0000-7000-8000-000000000000"})
    await hears_nothing(couple.her, "error", "ok", "chat.typing", for_s=0.7)
    assert sum(message["type"] == "chat.typing" for message in couple.him.inbox) <= 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "invalid_message"),
        (" \n ", "invalid_message"),
        ("a\x00b", "invalid_message"),
        ("x" * 2001, "payload_too_large"),
    ],
)
async def test_what_is_no_text_is_refused(couple: Couple, body: str, code: str) -> None:
    """With a code that tells why; nothing is kept."""
    assert await refused(couple.her, "chat.send", {**couple.named, "client_id": "one", "body": body}) == code
    assert (await couple.say(couple.her, "x" * 2000))["number"] == 1


async def test_a_stranger_learns_nothing_of_a_chat(house: Deployment, people: People, couple: Couple) -> None:
    """A connection of others answers as one that does not exist."""
    stranger = await people.online(house.url, "female")
    for connection_id in (couple.connection_id, "01890000-0000-7000-8000-000000000000"):
        named = {"connection_id": connection_id}
        codes = [
            await refused(stranger, "chat.send", {**named, "client_id": "one", "body": "hi"}),
            await refused(stranger, "chat.read", {**named, "up_to": 1}),
            await refused(stranger, "safety.block", named),
            await refused(stranger, "safety.report", {**named, "category": "spam"}),
        ]
        watching = await stranger.request("presence.watch", {"connection_ids": [connection_id]})

        assert codes == ["not_connected"] * 4
        assert watching == {"watching": []}
    await stranger.send("chat.typing", couple.named)
    await hears_nothing(couple.him, "chat.message", "chat.read", "chat.typing", "presence.update")


async def test_nothing_is_missed_between_the_snapshot_and_what_is_told(
    house: Deployment, people: People, couple: Couple
) -> None:
    """He opens one session after the other while she writes: what a snapshot does not count is told after it."""
    written = 0
    done = False

    async def write() -> None:
        nonlocal written
        while not done:
            written = (await couple.say(couple.her, "again"))["number"]
            await asyncio.sleep(0.2)

    async def come() -> tuple[int, list[int]] | None:
        device = people.client(house.url, "msgpack", couple.him.device_id)
        ready = await device.start(couple.him.account["access_token"])
        first = await device.wait_for("chat.message")
        numbers = [first["number"]] + [
            m["data"]["number"] for m in device.inbox if m["type"] == "chat.message"
        ]
        unread = ready["snapshot"]["unread"]
        # Nobody waits for a database that is slow: then the snapshot says that it does not know.
        return None if unread is None else (unread.get(couple.connection_id, 0), numbers)

    writing = asyncio.create_task(write())
    seen = [await come() for _ in range(25)]
    done = True
    await writing

    known = [each for each in seen if each is not None]
    assert written >= 5
    assert len(known) >= 5
    for counted, numbers in known:
        # He reads nothing: the count is the number of the last message that the snapshot knew.
        assert min(numbers) <= counted + 1
        assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1))
