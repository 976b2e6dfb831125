"""What may be relied on when two people are connected, told of it, and parted."""

import asyncio

import asyncpg
import pytest

from base.ids import ConnectionId, UserId
from chat.model import Made
from safety.records import Block, Report, ReportCategory
from signaling.connecting import wish_of
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.connections import PostgresConnections
from storage.postgres.ended_connections import PostgresEndedConnections
from storage.postgres.safety import PostgresBlockBook, PostgresSafety
from tests.contract.calls.call_records import connected, ended, new_id, now_ms
from tests.contract.chat.conftest import AddCouple, Couple, Say, wish
from tests.contract.recorder.archive_rows import add_pair, count


@pytest.fixture
def safety(pool: asyncpg.Pool) -> PostgresSafety:
    return PostgresSafety(pool)


def block(by: str, other: str, *, at: int | None = None) -> Block:
    return Block(
        id=new_id(),
        by_id=UserId(by),
        other_id=UserId(other),
        call_id=None,
        made_at=now_ms() if at is None else at,
    )


async def open_connections(database: asyncpg.Connection) -> int:
    return await count(database, "chat.connections WHERE closed_at IS NULL")


async def test_a_wish_makes_a_connection_once(
    connections: PostgresConnections, database: asyncpg.Connection
) -> None:
    """Whoever writes it again finds it there, and has no news."""
    her, him = await add_pair(database)
    one = wish(her, him)
    first = await connections.make([one])
    again = await connections.make([one])

    assert first == [Made(one.call_id, one.connection_id, is_news=True)]
    assert again == [Made(one.call_id, one.connection_id, is_news=False)]
    assert await count(database, "chat.connections") == 1


async def test_two_who_are_connected_keep_their_connection_and_hear_of_it_again(
    connections: PostgresConnections, database: asyncpg.Connection, couple: Couple
) -> None:
    """They met again and both said yes again: there is something to tell, and nothing new to make."""
    (untold,) = await connections.untold([couple.connection_id], now_ms())
    await connections.told([untold])
    later = wish(couple.him, couple.her)
    (made,) = await connections.make([later])
    (news,) = await connections.untold([couple.connection_id], now_ms())

    assert made == Made(later.call_id, couple.connection_id, is_news=True)
    assert news.call_id == later.call_id
    assert await count(database, "chat.connections") == 1


async def test_a_call_that_is_written_late_changes_nothing_about_a_later_one(
    connections: PostgresConnections, database: asyncpg.Connection
) -> None:
    """Recorders may write calls in any order."""
    her, him = await add_pair(database)
    earlier, later = wish(her, him), wish(her, him)
    await connections.make([later])
    (made,) = await connections.make([earlier])

    assert made == Made(earlier.call_id, later.connection_id, is_news=False)


@pytest.mark.parametrize("who", ["she", "he"])
async def test_a_block_of_either_keeps_two_from_being_connected(
    who: str, connections: PostgresConnections, safety: PostgresSafety, database: asyncpg.Connection
) -> None:
    """Made between the call and the writing of its connection."""
    her, him = await add_pair(database)
    one = wish(her, him, at=now_ms() - 60_000)
    await safety.write([block(*((her, him) if who == "she" else (him, her)))])

    assert await connections.make([one]) == []
    assert await count(database, "chat.connections") == 0


async def test_a_block_that_was_taken_back_still_forbids_what_was_wished_before_it(
    connections: PostgresConnections,
    safety: PostgresSafety,
    pool: asyncpg.Pool,
    database: asyncpg.Connection,
) -> None:
    """Taking it back brings nothing back; what they wish for afterwards is another thing."""
    her, him = await add_pair(database)
    before = wish(her, him, at=now_ms() - 60_000)
    made = block(her, him)
    await safety.write([made])
    await PostgresBlockBook(pool).take_back(made.id, UserId(her))

    assert await connections.make([before]) == []
    after = wish(her, him, at=now_ms() + 1_000)
    assert [one.connection_id for one in await connections.make([after])] == [after.connection_id]


@pytest.mark.parametrize("how", ["end", "block"])
async def test_what_was_ended_is_not_brought_back_by_a_call_that_is_written_late(
    how: str,
    connections: PostgresConnections,
    safety: PostgresSafety,
    pool: asyncpg.Pool,
    database: asyncpg.Connection,
) -> None:
    """The hub wrote the connection in the middle of the call, the two parted, and then the recorder comes."""
    her, him = await add_pair(database)
    call = connected(ended(her, him))
    agreed = wish_of(call)
    assert agreed is not None
    await connections.make([agreed])
    if how == "end":
        await connections.end(agreed.connection_id, UserId(him), now_ms())
    else:
        await connections.part(UserId(him), UserId(her), now_ms())
    recorded = await PostgresCallArchive(pool).record([call])

    assert recorded.news == ()
    assert await open_connections(database) == 0
    assert await database.fetchval("SELECT connection_id FROM calls.calls") is None


async def test_two_who_parted_may_find_together_again_and_begin_anew(
    connections: PostgresConnections, database: asyncpg.Connection, couple: Couple, say: Say
) -> None:
    """Another connection, empty; nothing of the old one is in it."""
    await say(couple, couple.her, "hello")
    await connections.end(couple.connection_id, couple.her, now_ms())
    again = wish(couple.her, couple.him)
    (made,) = await connections.make([again])
    (seen,) = await connections.acquaintances(couple.him, before=None, limit=5, now_ms=now_ms())

    assert made.connection_id == again.connection_id != couple.connection_id
    assert (seen.last_message, seen.unread) == (None, 0)
    assert await count(database, "chat.messages") == 1


async def test_writing_a_block_ends_the_connection_in_the_same_step(
    safety: PostgresSafety, database: asyncpg.Connection, couple: Couple, add_couple: AddCouple
) -> None:
    """Only that of the two; written again after it was taken back, it ends nothing."""
    other = await add_couple()
    one = block(couple.him, couple.her)
    await safety.write([one])

    assert await database.fetchval(
        "SELECT close_reason FROM chat.connections WHERE id = $1", couple.connection_id
    ) == ("blocked")
    assert await open_connections(database) == 1
    await database.execute("UPDATE safety.blocks SET removed_at = now()")
    await database.execute("UPDATE chat.connections SET closed_at = NULL, close_reason = NULL")
    await safety.write([one])
    assert await open_connections(database) == 2
    assert other.connection_id != couple.connection_id


async def test_no_connection_ever_stands_beside_a_block(
    connections: PostgresConnections, safety: PostgresSafety, database: asyncpg.Connection
) -> None:
    """The two are written at the same moment, many times over, in both orders: the block wins each time."""
    for _ in range(15):
        pairs = [await add_pair(database) for _ in range(3)]
        await asyncio.gather(
            connections.make([wish(*pair) for pair in pairs]),
            safety.write([block(*reversed(pair)) for pair in reversed(pairs)]),
        )

    assert await open_connections(database) == 0
    assert await count(database, "safety.blocks") == 45


async def test_the_recorder_makes_no_connection_of_two_whom_redis_keeps_apart(
    pool: asyncpg.Pool, database: asyncpg.Connection
) -> None:
    """Their block waits for its own recorder; the other call of the batch has its connection."""
    calls = [connected(ended(*await add_pair(database))) for _ in range(2)]
    recorded = await PostgresCallArchive(pool).record(calls, apart={calls[0].call_id})

    assert (recorded.new, recorded.news) == (2, (calls[1].connection_id,))
    assert await open_connections(database) == 1


async def test_what_was_written_and_not_told_is_told_by_somebody_else_after_a_while(
    connections: PostgresConnections, database: asyncpg.Connection, couple: Couple
) -> None:
    """Its writer died. Of two that look at once only one gets it, and nobody once it was told."""
    assert await connections.claim_untold(now_ms(), limit=10) == []
    await database.execute("UPDATE chat.connections SET tell_at = now() - interval '1 s'")
    claims = await asyncio.gather(*(connections.claim_untold(now_ms(), limit=10) for _ in range(4)))
    (mine,) = [claim for claim in claims if claim]
    (news,) = mine

    assert news.connection_id == couple.connection_id
    assert {user: peer.first_name for user, peer in news.peers.items()} == {
        couple.her: "Bob",
        couple.him: "Ada",
    }
    await connections.told(mine)
    await database.execute("UPDATE chat.connections SET tell_at = tell_at - interval '1 h'")
    assert await connections.claim_untold(now_ms(), limit=10) == []


async def test_a_connection_that_has_ended_is_not_told(
    connections: PostgresConnections, couple: Couple
) -> None:
    """Before anybody came to tell it."""
    await connections.end(couple.connection_id, couple.her, now_ms())

    assert await connections.untold([couple.connection_id], now_ms()) == []


async def test_only_the_two_can_end_a_connection_and_only_once(
    connections: PostgresConnections, couple: Couple, add_couple: AddCouple
) -> None:
    """Whoever asks second has none to end."""
    stranger = (await add_couple()).her

    assert await connections.end(couple.connection_id, stranger, now_ms()) is None
    assert await connections.end(couple.connection_id, couple.him, now_ms()) == couple.her
    assert await connections.end(couple.connection_id, couple.her, now_ms()) is None
    assert await connections.ever_with(couple.connection_id, couple.her) == couple.him
    assert await connections.ever_with(couple.connection_id, stranger) is None
    assert await connections.still_open([couple.connection_id]) == set()


async def test_the_list_is_paged_by_what_happened_last(
    connections: PostgresConnections, database: asyncpg.Connection, say: Say
) -> None:
    """From both sides of pairs; nothing twice, nothing left out, the last message with each."""
    her, _ = await add_pair(database)
    made = []
    for n in range(5):
        _, him = await add_pair(database)
        (one,) = await connections.make([wish(her, him, at=1_700_000_000_000 + n)])
        made.append(Couple(UserId(her), UserId(him), one.connection_id))
    await say(made[1], made[1].him, "hello")
    await say(made[3], made[3].her, "there")
    seen: list[ConnectionId] = []
    before: tuple[int, str] | None = None
    while page := await connections.acquaintances(UserId(her), before=before, limit=2, now_ms=now_ms()):
        seen += [one.connection_id for one in page]
        before = (page[-1].active_at, page[-1].connection_id)
    (first,) = await connections.acquaintances(UserId(her), before=None, limit=1, now_ms=now_ms())
    by_making = await connections.made(UserId(her), before=None, limit=10)

    assert seen == [made[n].connection_id for n in (3, 1, 4, 2, 0)]
    assert first.last_message is not None
    assert (first.last_message.body, first.unread, first.peer.first_name) == ("there", 0, "Bob")
    assert [one.connection_id for one in by_making] == [made[n].connection_id for n in (4, 3, 2, 1, 0)]


async def test_purging_an_account_takes_its_connections_and_messages_with_it(
    database: asyncpg.Connection, couple: Couple, say: Say, add_couple: AddCouple
) -> None:
    """Nothing in chat stands in the way; other people's chats stay."""
    other = await add_couple()
    await say(other, other.her)
    for by in (couple.her, couple.him):
        await say(couple, by)
    await database.execute("DELETE FROM accounts.users WHERE id = $1", couple.him)

    assert await count(database, "chat.connections") == 1
    assert await count(database, "chat.messages") == 1


async def test_what_ended_long_ago_is_deleted_but_not_under_an_open_report(
    pool: asyncpg.Pool,
    connections: PostgresConnections,
    safety: PostgresSafety,
    database: asyncpg.Connection,
    add_couple: AddCouple,
    say: Say,
) -> None:
    """With what was said in it; nothing that is open, and nothing that ended lately. Resolved, the report holds nothing."""
    day = 86_400_000
    old, reported, recent, still_open = [await add_couple() for _ in range(4)]
    for one in (old, reported, recent, still_open):
        await say(one, one.her)
    for one, days in ((old, 31), (reported, 31), (recent, 29)):
        await connections.end(one.connection_id, one.her, now_ms() - days * day)
    report = Report(
        id=new_id(),
        by_id=reported.her,
        other_id=reported.him,
        call_id=None,
        category=ReportCategory.SPAM,
        note="",
        made_at=now_ms(),
        connection_id=reported.connection_id,
    )
    await safety.write([report])
    ended = PostgresEndedConnections(pool)
    first = await ended.purge_expired(now_ms(), 10)
    left = {str(row["id"]) for row in await database.fetch("SELECT id FROM chat.connections")}
    await database.execute("UPDATE safety.reports SET resolved_at = now(), resolution = 'no_action'")
    second = await ended.purge_expired(now_ms(), 10)

    # What was said in them counts, too.
    assert (first, second) == (2, 2)
    assert left == {one.connection_id for one in (reported, recent, still_open)}
    assert await count(database, "chat.messages") == 2
    assert await ended.purge_expired(now_ms(), 10) == 0


async def test_a_long_talk_goes_in_shares_before_its_connection(
    pool: asyncpg.Pool,
    connections: PostgresConnections,
    database: asyncpg.Connection,
    add_couple: AddCouple,
    say: Say,
) -> None:
    """However much two people said to each other: one transaction of any size would never come to its end."""
    talkative, quiet = [await add_couple() for _ in range(2)]
    for _ in range(7):
        await say(talkative, talkative.her)
    for number, one in enumerate((talkative, quiet)):
        await connections.end(one.connection_id, one.her, now_ms() - (32 - number) * 86_400_000)
    ended = PostgresEndedConnections(pool)
    shares, left = [], []
    while share := await ended.purge_expired(now_ms(), 3):
        shares.append(share)
        left.append((await count(database, "chat.connections"), await count(database, "chat.messages")))

    assert left == [(1, 4), (1, 1), (0, 0)]
    assert shares == [4, 3, 2]
