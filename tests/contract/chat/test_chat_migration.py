"""Connections of the release before are there after the upgrade, with an empty chat and nothing to be told again."""

import asyncpg

from base.ids import ConnectionId, UserId
from storage.postgres.chat import PostgresMessages
from storage.postgres.connections import PostgresConnections
from storage.postgres.migrations import load, migrate
from storage.postgres.pool import open_pool
from tests.contract.calls.call_records import new_id, now_ms
from tests.contract.chat.conftest import Couple, draft
from tests.contract.recorder.archive_rows import add_pair

INSERT = """
INSERT INTO chat.connections (id, user_low, user_high, call_id, made_at) VALUES ($1, $2, $3, $4, now())
"""


async def test_connections_of_the_release_before_open_their_chats(empty_database_url: str) -> None:
    """Neither lost nor made news of; the two write to each other at once."""
    await migrate(empty_database_url, [one for one in load() if one.version <= 3])
    database = await asyncpg.connect(empty_database_url)
    her, him = await add_pair(database)
    connection_id = new_id()
    await database.execute(INSERT, connection_id, *sorted((her, him)), new_id())
    await migrate(empty_database_url)
    pool = await open_pool(empty_database_url)
    connections, messages = PostgresConnections(pool), PostgresMessages(pool)
    couple = Couple(UserId(her), UserId(him), ConnectionId(connection_id))
    sent = await messages.send(draft(couple, her), apart=())
    (seen,) = await connections.acquaintances(couple.him, before=None, limit=5, now_ms=now_ms())

    assert (sent.message.number, sent.unread) == (1, 1)
    assert (seen.connection_id, seen.unread) == (connection_id, 1)
    assert await connections.claim_untold(now_ms(), limit=5) == []
    assert await connections.untold([couple.connection_id], now_ms()) == []
    await pool.close()
    await database.close()
