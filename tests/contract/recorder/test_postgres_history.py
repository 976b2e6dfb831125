"""What a reader of history may rely on."""

from itertools import pairwise

import asyncpg
import pytest

from rest.ports import Interaction, InteractionPeer
from signaling.call.states import EndReason, State
from storage.postgres.calls import PostgresCallArchive, PostgresHistory
from tests.contract.calls.call_records import connected, ended, moved, now_ms, proposed
from tests.contract.recorder.archive_rows import add_pair, add_user


@pytest.fixture
def archive(pool: asyncpg.Pool) -> PostgresCallArchive:
    return PostgresCallArchive(pool)


@pytest.fixture
def history(pool: asyncpg.Pool) -> PostgresHistory:
    return PostgresHistory(pool)


async def test_each_of_the_two_reads_the_call_from_their_own_side(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """Own role, the other's first name, and nothing else of the other."""
    her, him = await add_pair(database)
    call = ended(her, him, at=1_700_000_000_123)
    await archive.record([call])
    seen_by_her = await history.interactions(her, before=None, limit=10)
    seen_by_him = await history.interactions(him, before=None, limit=10)

    assert seen_by_her == [
        Interaction(
            call_id=call.call_id,
            intent="dating",
            role="controller",
            peer=InteractionPeer(first_name="Bob"),
            started_at=1_699_999_820_123,
            ended_at=1_700_000_000_123,
            duration_ms=180_000,
            reason="hangup",
            connected=False,
            connection_id=None,
        )
    ]
    assert [(one.role, one.peer.first_name) for one in seen_by_him] == [("guest", "Ada")]


async def test_a_call_that_never_became_live_has_no_start(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """A declined call is history too, of no duration."""
    her, him = await add_pair(database)
    await archive.record([moved(proposed(her, him), State.ENDED, reason=EndReason.DECLINED)])
    (seen,) = await history.interactions(him, before=None, limit=10)

    assert (seen.started_at, seen.duration_ms, seen.reason) == (None, 0, "declined")


async def test_the_connection_shown_is_the_one_the_pair_has(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """Also for a later call that would have made another."""
    her, him = await add_pair(database)
    first = connected(ended(her, him, at=1_700_000_000_000))
    second = connected(ended(her, him, at=1_700_001_000_000))
    await archive.record([first])
    await archive.record([second])
    seen = await history.interactions(her, before=None, limit=10)

    assert [(one.connected, one.connection_id) for one in seen] == [(True, first.connection_id)] * 2


async def test_pages_follow_each_other_without_gap_or_repetition(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """Newest first; calls that ended in the same millisecond are told apart by their id."""
    her, him = await add_pair(database)
    moments = [now_ms() - 1_000 * (n // 3) for n in range(23)]
    await archive.record([ended(her, him, at=at) for at in moments])
    seen: list[Interaction] = []
    before = None
    while page := await history.interactions(her, before=before, limit=5):
        assert len(page) <= 5
        seen += page
        before = (page[-1].ended_at, page[-1].call_id)

    assert len({one.call_id for one in seen}) == len(seen) == 23
    assert all((a.ended_at, a.call_id) > (b.ended_at, b.call_id) for a, b in pairwise(seen))


async def test_a_call_recorded_while_somebody_pages_does_not_shift_the_pages(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """The cursor is a place, not a number of rows."""
    her, him = await add_pair(database)
    at = now_ms() - 60_000
    await archive.record([ended(her, him, at=at - n) for n in range(4)])
    first = await history.interactions(her, before=None, limit=2)
    await archive.record([ended(her, him, at=at + 1_000)])
    second = await history.interactions(her, before=(first[-1].ended_at, first[-1].call_id), limit=2)

    assert [one.ended_at for one in first + second] == [at, at - 1, at - 2, at - 3]


async def test_nobody_sees_calls_of_others(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """A stranger's history is empty."""
    await archive.record([ended(*await add_pair(database))])

    assert await history.interactions(await add_user(database, "Eve", "other"), before=None, limit=10) == []


async def test_a_page_is_read_from_the_index_alone_in_its_order(
    archive: PostgresCallArchive, history: PostgresHistory, database: asyncpg.Connection
) -> None:
    """Somebody with years of calls reads the first page as fast as a newcomer: no sort, no scan of the table."""
    her, him = await add_pair(database)
    await archive.record([ended(her, him, at=now_ms() - n) for n in range(300)])
    await database.execute("ANALYZE calls.participants; ANALYZE calls.calls; SET enable_seqscan = off")
    plan = await database.fetch(
        "EXPLAIN "
        + PostgresHistory.SELECT_INTERACTIONS.replace("$1", f"'{her}'")
        .replace("$2", "now()")
        .replace("$3", f"'{her}'")
        .replace("$4", "10")
    )
    text = "\n".join(row[0] for row in plan)

    assert "participants_history_idx" in text
    assert "ROW(" in text.split("participants_history_idx")[1].split("\n")[1]
    assert "Sort" not in text
