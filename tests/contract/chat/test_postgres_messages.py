"""What chat may rely on when it keeps messages and read marks in PostgreSQL."""

import asyncio

import asyncpg
import pytest

from base.errors import Unavailable
from base.ids import ConnectionId, UserId
from chat.model import Mark
from chat.rules import ClientIdReused, NotConnected
from storage.postgres.chat import PostgresMessages, Unkeepable
from storage.postgres.connections import PostgresConnections
from storage.postgres.pool import open_pool
from tests.contract.calls.call_records import new_id, now_ms
from tests.contract.chat.conftest import AddCouple, Couple, Say, draft


async def test_a_message_is_kept_as_it_was_said(messages: PostgresMessages, couple: Couple, say: Say) -> None:
    """With who said it, its place, and the count of what the other has not read."""
    sent = await say(couple, couple.her, "hello\nthere 👋", "one")
    kept = await messages.messages(couple.connection_id, couple.him, limit=10)

    assert kept == [sent.message]
    assert (sent.other_id, sent.unread, sent.is_new) == (couple.him, 1, True)
    assert (kept[0].number, kept[0].sender_id, kept[0].body) == (1, couple.her, "hello\nthere 👋")
    assert kept[0].client_id == "one"


async def test_a_message_that_is_sent_twice_is_there_once(
    messages: PostgresMessages, couple: Couple, say: Say
) -> None:
    """Under its client_id it answers as the first time, and counts once."""
    first = await say(couple, couple.her, "hello", "one")
    await say(couple, couple.her, "more", "two")
    again = await say(couple, couple.her, "hello", "one")

    assert again.message == first.message
    assert not again.is_new
    assert await messages.unread([couple.him], limit=10) == {couple.him: {couple.connection_id: 2}}


async def test_one_client_id_cannot_stand_for_two_messages(couple: Couple, say: Say) -> None:
    """The sender would believe the second was kept."""
    await say(couple, couple.her, "hello", "one")

    with pytest.raises(ClientIdReused):
        await say(couple, couple.her, "something else", "one")


async def test_the_two_name_their_messages_apart_from_each_other(couple: Couple, say: Say) -> None:
    """And in each connection anew."""
    hers = await say(couple, couple.her, "hers", "one")
    his = await say(couple, couple.him, "his", "one")

    assert hers.is_new
    assert his.is_new
    assert (hers.message.number, his.message.number) == (1, 2)


async def test_messages_that_come_at_once_get_numbers_without_gaps(
    messages: PostgresMessages, couple: Couple, say: Say
) -> None:
    """From both sides, over several connections to the database: the order is one, and times follow it."""
    sent = await asyncio.gather(*(say(couple, (couple.her, couple.him)[n % 2], f"{n}") for n in range(40)))
    kept = await messages.messages(couple.connection_id, couple.her, after=0, limit=100)

    assert sorted(one.message.number for one in sent) == list(range(1, 41))
    assert [one.number for one in kept] == list(range(1, 41))
    assert [one.sent_at for one in kept] == sorted(one.sent_at for one in kept)
    assert len({one.id for one in kept}) == 40


async def test_the_same_message_by_two_ways_at_once_is_kept_once(
    messages: PostgresMessages, couple: Couple, say: Say
) -> None:
    """A client that lost its hub sends again while the first attempt is still on its way."""
    sent = await asyncio.gather(*(say(couple, couple.her, "hello", "one") for _ in range(12)))

    assert len({one.message.id for one in sent}) == 1
    assert sum(one.is_new for one in sent) == 1
    assert await messages.unread([couple.him], limit=10) == {couple.him: {couple.connection_id: 1}}


async def test_times_do_not_go_backwards_where_clocks_differ(
    messages: PostgresMessages, couple: Couple
) -> None:
    """Two nodes took the times; the later message is never shown as the earlier one."""
    late = await messages.send(draft_at(couple, couple.her, now_ms() + 200), apart=())
    early = await messages.send(draft_at(couple, couple.him, now_ms() - 200), apart=())

    assert early.message.number > late.message.number
    assert early.message.sent_at == late.message.sent_at


def draft_at(couple: Couple, by: UserId, at: int) -> object:
    one = draft(couple, by)
    return type(one)(one.connection_id, one.sender_id, one.id, one.client_id, one.body, at)


async def test_pages_lead_back_and_forth_by_number(
    messages: PostgresMessages, couple: Couple, say: Say
) -> None:
    """Newest first before a number, oldest first after one; nothing twice, nothing left out."""
    for n in range(7):
        await say(couple, couple.her, f"{n}")

    async def page(**where: int) -> list[int]:
        found = await messages.messages(couple.connection_id, couple.him, limit=3, **where)
        return [one.number for one in found]

    assert await page() == [7, 6, 5]
    assert await page(before=5) == [4, 3, 2]
    assert await page(before=2) == [1]
    assert await page(after=0) == [1, 2, 3]
    assert await page(after=5) == [6, 7]
    assert await page(after=7) == []


async def test_reading_moves_the_mark_and_counts_what_is_left(
    messages: PostgresMessages, couple: Couple, say: Say
) -> None:
    """Only the other's messages count; the mark never falls, and never passes the last message."""
    for by in (couple.her, couple.her, couple.him, couple.her):
        await say(couple, by)

    marks = [await messages.read(couple.connection_id, couple.him, up_to) for up_to in (2, 1, 99, 3)]

    assert marks == [
        Mark(2, 1, True, couple.her),
        Mark(2, 1, False, couple.her),
        Mark(4, 0, True, couple.her),
        Mark(4, 0, False, couple.her),
    ]
    assert await messages.unread([couple.him], limit=10) == {}
    assert await messages.unread([couple.her], limit=10) == {couple.her: {couple.connection_id: 1}}


async def test_the_counts_of_a_snapshot_are_the_most_recent_connections_first(
    messages: PostgresMessages, add_couple: AddCouple, say: Say, database: asyncpg.Connection
) -> None:
    """Bounded; connections with nothing to read are not among them."""
    couples = [await add_couple() for _ in range(3)]
    her = couples[0].her
    for one in couples[1:]:
        low, high = sorted((her, one.him))
        await database.execute(
            "UPDATE chat.connections SET user_low = $2, user_high = $3 WHERE id = $1",
            one.connection_id,
            low,
            high,
        )
    for one in couples[1:]:
        await messages.send(draft_at(one, one.him, now_ms() + 10), apart=())
        await asyncio.sleep(0.02)

    assert list((await messages.unread([her], limit=10))[her]) == [
        couples[2].connection_id,
        couples[1].connection_id,
    ]
    assert await messages.unread([her], limit=1) == {her: {couples[2].connection_id: 1}}


async def test_a_crowd_is_counted_at_once(
    messages: PostgresMessages, add_couple: AddCouple, say: Say
) -> None:
    """Each has their own counts and their own limit; who has nothing to read is left out."""
    one, other = await add_couple(), await add_couple()
    for _ in range(2):
        await say(one, one.her)
    await say(other, other.him)

    assert await messages.unread([one.her, one.him, other.her, other.him], limit=1) == {
        one.him: {one.connection_id: 2},
        other.her: {other.connection_id: 1},
    }


@pytest.mark.parametrize(
    "who", ["a stranger", "nobody's connection", "after the end", "after a block", "gone"]
)
async def test_nobody_else_and_nothing_after_the_end(
    who: str,
    messages: PostgresMessages,
    connections: PostgresConnections,
    add_couple: AddCouple,
    database: asyncpg.Connection,
    say: Say,
) -> None:
    """One refusal for all of it: it does not tell whether there is, or was, such a connection."""
    couple, other = await add_couple(), await add_couple()
    await say(couple, couple.her)
    connection_id, user_id = couple.connection_id, couple.him
    match who:
        case "a stranger":
            user_id = other.him
        case "nobody's connection":
            connection_id = ConnectionId(new_id())
        case "after the end":
            await connections.end(couple.connection_id, couple.her, now_ms())
        case "after a block":
            await connections.part(couple.him, couple.her, now_ms())
        case "gone":
            await database.execute("UPDATE accounts.users SET deleted_at = now() WHERE id = $1", couple.her)
    attempt = Couple(couple.her, user_id, connection_id)

    with pytest.raises(NotConnected):
        await say(attempt, user_id)
    with pytest.raises(NotConnected):
        await messages.read(connection_id, user_id, 1)
    if who != "gone":
        with pytest.raises(NotConnected):
            await messages.messages(connection_id, user_id, limit=1)
    assert await connections.others([connection_id], user_id) == {}
    assert await database.fetchval("SELECT count(*) FROM chat.messages") == 1


async def test_whom_the_sender_does_not_meet_gets_nothing(
    messages: PostgresMessages, couple: Couple, database: asyncpg.Connection
) -> None:
    """A block that the database does not know yet."""
    with pytest.raises(NotConnected):
        await messages.send(draft(couple, couple.her), apart={couple.him})
    assert await database.fetchval("SELECT count(*) FROM chat.messages") == 0
    assert await database.fetchval("SELECT last_number FROM chat.connections") == 0


async def test_an_error_of_ours_does_not_quote_what_was_said(
    messages: PostgresMessages, couple: Couple
) -> None:
    """The database's own words do; they must not reach a log."""
    with pytest.raises(Unkeepable) as caught:
        await messages.send(draft(couple, couple.her, "secret" * 500), apart=())
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_absent_database_is_unavailable() -> None:
    """One refusal, retryable."""
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", timeout_s=0.5)
    couple = Couple(UserId(new_id()), UserId(new_id()), ConnectionId(new_id()))

    with pytest.raises(Unavailable):
        await PostgresMessages(pool).send(draft(couple, couple.her), apart=())
    with pytest.raises(Unavailable):
        await PostgresMessages(pool).unread([couple.her], limit=1)
    await pool.close()
