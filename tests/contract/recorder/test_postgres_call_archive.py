"""What the recorder may rely on when it writes ended calls to PostgreSQL."""

import asyncio

import asyncpg
import msgspec
import pytest

from base.errors import Unavailable
from jobs.ports import Recorded, Refused
from signaling.call.record import ConsentEvent, ConsentKind, RefusedRelays
from signaling.call.states import EndReason, State
from signaling.protocol.messages.call import MediaStats
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.pool import open_pool
from storage.postgres.times import moment
from tests.contract.calls.call_records import connected, ended, moved, new_id, now_ms, proposed
from tests.contract.recorder.archive_rows import add_pair, add_user, count


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


async def test_all_facts_of_a_call_are_kept(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """Who, in which role, when, how it ended, what was agreed to, what was refused, how it sounded."""
    her, him = await add_pair(database)
    call = ended(her, him, at=1_700_000_000_123, reason=EndReason.COMPLETED)
    call = msgspec.structs.replace(
        call,
        a=msgspec.structs.replace(call.a, stats=MediaStats(rtt_ms=41.5, packets_lost=3)),
        b=msgspec.structs.replace(call.b, requeued=True),
        events=(
            ConsentEvent(at=1_699_999_900_000, kind=ConsentKind.VIDEO_ASKED, by="b"),
            ConsentEvent(at=1_699_999_920_000, kind=ConsentKind.VIDEO_DENIED, reason="timeout"),
            ConsentEvent(
                at=1_699_999_930_000, kind=ConsentKind.VIDEO_ALLOWED, by="a", sender="b", direction="receive"
            ),
        ),
        refused=(RefusedRelays(at=1_699_999_925_000, by="b", code="video_not_allowed", count=2, after=2),),
        refusals={"video_not_allowed": 2, "sdp_invalid": 1},
        extensions=1,
    )
    written = await archive.record([call])
    row = await database.fetchrow("SELECT * FROM calls.calls")
    people = await database.fetch("SELECT * FROM calls.participants ORDER BY seat")
    events = await database.fetch("SELECT * FROM calls.consent_events ORDER BY number")
    refusals = await database.fetch("SELECT code, count FROM calls.refusals ORDER BY code")

    assert written == Recorded(new=1, updated=0)
    assert row is not None
    assert (str(row["id"]), row["intent"], row["reason"]) == (call.call_id, "dating", "completed")
    assert (row["version"], row["extensions"], row["resets"], row["connected"]) == (call.version, 1, 0, False)
    assert (row["live_at"], row["ended_at"]) == (moment(1_699_999_820_123), moment(1_700_000_000_123))
    assert (row["created_at"], row["duration_ms"]) == (moment(call.created_at), 180_000)
    assert [(str(one["user_id"]), one["seat"], one["role"]) for one in people] == [
        (her, "a", "controller"),
        (him, "b", "guest"),
    ]
    assert [one["requeued"] for one in people] == [False, True]
    assert '"rtt_ms": 41.5' in people[0]["quality"]
    assert people[1]["quality"] is None
    assert [tuple(event)[1:8] for event in events] == [
        (0, moment(1_699_999_900_000), "video_asked", "b", None, None, 1),
        (1, moment(1_699_999_920_000), "video_denied", None, None, "timeout", 1),
        (2, moment(1_699_999_925_000), "relay_refused", "b", None, "video_not_allowed", 2),
        (3, moment(1_699_999_930_000), "video_allowed", "a", "b", "receive", 1),
    ]
    assert (row["consent_entries"], row["consent_head"]) == (4, events[-1]["hash"])
    assert [tuple(refusal) for refusal in refusals] == [("sdp_invalid", 1), ("video_not_allowed", 2)]


async def test_a_call_that_is_written_twice_is_there_once(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """A recorder that died after writing leaves the call to the next one."""
    call = connected(ended(*await add_pair(database)))
    await archive.record([call])
    again = await archive.record([call])

    assert again == Recorded(new=0, updated=0)
    assert await count(database, "calls.calls") == 1
    assert await count(database, "calls.participants") == 2
    assert await count(database, "calls.consent_events") == 1
    assert await count(database, "chat.connections") == 1


async def test_a_later_version_replaces_an_earlier_one_and_never_the_reverse(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """Two recorders may write two versions in either order; the higher one stands, events only grow."""
    first = ended(*await add_pair(database))
    event = ConsentEvent(at=first.created_at, kind=ConsentKind.VIDEO_ASKED, by="b")
    first = msgspec.structs.replace(first, events=(event,), refusals={"sdp_invalid": 2})
    assert first.ended_at is not None
    second = moved(
        first,
        State.ENDED,
        ended_at=first.ended_at + 5_000,
        reason=EndReason.COMPLETED,
        events=(event, event),
        refusals={"sdp_invalid": 5},
    )
    outcomes = [await archive.record([call]) for call in (first, second, first)]

    assert outcomes == [Recorded(1, 0), Recorded(0, 1), Recorded(0, 0)]
    assert await database.fetchval("SELECT reason FROM calls.calls") == "completed"
    assert await database.fetchval("SELECT version FROM calls.calls") == second.version
    assert await count(database, "calls.consent_events") == 2
    assert await database.fetchval("SELECT count FROM calls.refusals") == 5
    assert await database.fetchval("SELECT count(DISTINCT ended_at) FROM calls.participants") == 1
    assert await database.fetchval("SELECT max(ended_at) FROM calls.participants") == moment(
        second.ended_at or 0
    )


async def test_a_pair_has_one_connection_however_often_it_is_made(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """The first one stays; later calls of the two point to it, whoever sits where."""
    her, him = await add_pair(database)
    first = connected(ended(her, him))
    second = connected(ended(him, her))
    third = connected(ended(her, him))
    await archive.record([first])
    await archive.record([second, third])
    kept = await database.fetch("SELECT id, user_low, user_high, call_id, made_at FROM chat.connections")
    linked = await database.fetch("SELECT DISTINCT connection_id FROM calls.calls")

    assert [str(kept[0]["id"]), str(kept[0]["call_id"])] == [first.connection_id, first.call_id]
    assert [str(kept[0]["user_low"]), str(kept[0]["user_high"])] == sorted((her, him))
    assert kept[0]["made_at"] == moment(first.ended_at or 0)
    assert [str(row["connection_id"]) for row in linked] == [first.connection_id]


async def test_a_call_without_a_connection_makes_none(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """Most calls."""
    await archive.record([ended(*await add_pair(database))])

    assert await count(database, "chat.connections") == 0
    assert await database.fetchval("SELECT connection_id FROM calls.calls") is None


async def test_writing_a_call_again_does_not_bring_back_a_connection_that_was_removed(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """The two may have parted before a recorder repeats its work."""
    call = connected(ended(*await add_pair(database)))
    await archive.record([call])
    await database.execute("DELETE FROM chat.connections")
    await archive.record([call])
    await archive.record([moved(call, State.ENDED)])

    assert await count(database, "chat.connections") == 0


async def test_a_connection_that_a_later_version_brings_is_made(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """The earlier version that was written knew nothing of it."""
    call = ended(*await add_pair(database))
    await archive.record([call])
    later = connected(moved(call, State.ENDED))
    await archive.record([later])

    assert str(await database.fetchval("SELECT connection_id FROM calls.calls")) == later.connection_id


async def test_a_batch_is_written_whole_or_not_at_all(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """One call of people nobody knows: the others of its batch are not there either, and the caller is told."""
    good = ended(*await add_pair(database))
    bad = ended(new_id(), new_id())

    with pytest.raises(Refused, match="ForeignKeyViolationError: participants_user_id_fkey"):
        await archive.record([good, bad])
    assert await count(database, "calls.calls") == 0


@pytest.mark.parametrize("flaw", ["not ended", "no reason", "odd text", "odd time", "odd number"])
async def test_what_cannot_be_stored_is_refused_and_not_called_an_outage(
    archive: PostgresCallArchive, database: asyncpg.Connection, flaw: str
) -> None:
    """The recorder must be able to tell a record that will never fit from a database that is away."""
    her, him = await add_pair(database)
    call = {
        "not ended": proposed(her, him),
        "no reason": msgspec.structs.replace(ended(her, him), reason=None),
        "odd time": msgspec.structs.replace(ended(her, him), created_at=1 << 62),
        "odd number": msgspec.structs.replace(ended(her, him), version=1 << 40),
        "odd text": msgspec.structs.replace(ended(her, him), intent="dat\x00ing"),
    }[flaw]

    with pytest.raises(Refused) as refusal:
        await archive.record([call])
    assert her not in str(refusal.value)
    assert await count(database, "calls.calls") == 0


async def test_a_refusal_quotes_no_value(archive: PostgresCallArchive, database: asyncpg.Connection) -> None:
    """It goes to the log, where no user id belongs."""
    her = await add_user(database, "Ada", "female")

    with pytest.raises(Refused) as refusal:
        await archive.record([connected(ended(her, her))])
    assert her not in str(refusal.value)


async def test_recorders_that_write_the_same_calls_at_once_do_not_stand_in_each_others_way(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """In any order of the batch: no deadlock, each call counted as new by one of them."""
    people = [await add_pair(database) for _ in range(10)]
    calls = [connected(ended(*pair)) for pair in people for _ in range(3)]
    outcomes = await asyncio.gather(
        *(archive.record(batch) for _ in range(4) for batch in (calls, list(reversed(calls))))
    )

    assert sum(outcome.new for outcome in outcomes) == 30
    assert await count(database, "calls.calls") == 30
    assert await count(database, "calls.participants") == 60
    assert await count(database, "chat.connections") == 10
    assert await database.fetchval("SELECT count(*) FROM calls.calls WHERE connection_id IS NULL") == 0


async def test_calls_are_written_in_the_order_of_their_ids(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """And connections in the order of their pairs, whatever the order of the batch: two recorders that write the same
    ones then wait for each other, and never in a ring."""
    calls = [ended(*await add_pair(database)) for _ in range(12)]
    await archive.record([*calls[::2], *reversed(calls[1::2])])
    written = await database.fetch("SELECT id FROM calls.calls ORDER BY ctid")
    await archive.record([connected(moved(call, State.ENDED)) for call in calls])
    pairs = await database.fetch("SELECT user_low, user_high FROM chat.connections ORDER BY ctid")

    assert [str(row["id"]) for row in written] == sorted(call.call_id for call in calls)
    assert pairs == sorted(pairs, key=tuple)


async def test_clocks_that_disagree_do_not_make_a_call_unwritable(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """The end may seem to come before the beginning when two nodes took the times."""
    call = ended(*await add_pair(database))
    assert call.closed_at is not None
    call = msgspec.structs.replace(call, live_since=call.closed_at + 40)
    await archive.record([call])

    assert await database.fetchval("SELECT duration_ms FROM calls.calls") == 0


async def test_every_end_reason_can_be_stored(
    archive: PostgresCallArchive, database: asyncpg.Connection
) -> None:
    """The closed list in the schema is the closed list in the code."""
    her, him = await add_pair(database)
    await archive.record([ended(her, him, reason=reason) for reason in EndReason])
    stored = await database.fetch("SELECT DISTINCT reason FROM calls.calls")

    assert {row["reason"] for row in stored} == {reason.value for reason in EndReason}


async def test_an_absent_database_is_unavailable() -> None:
    """One refusal, retryable."""
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", timeout_s=0.5)

    with pytest.raises(Unavailable):
        await PostgresCallArchive(pool).record([ended(new_id(), new_id(), at=now_ms())])
    await pool.close()
