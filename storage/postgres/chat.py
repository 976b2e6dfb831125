"""Messages and read marks in PostgreSQL. Fits `chat.ports.MessageStore`.

The connection's row is what senders wait for each other at: its lock gives each message its number, so that numbers
have no gaps and are on disk in their order. The counts of unread messages stand in the same row and change with it.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from base.ids import ConnectionId, UserId
from chat.model import Draft, Mark, Message, Sent
from chat.ports import MessageStore
from chat.rules import ClientIdReused, NotConnected, read_mark
from storage.postgres.connections import Connection, message
from storage.postgres.pool import acquire, transaction
from storage.postgres.times import moment

_HIGHEST = 2**63 - 1


class Unkeepable(Exception):
    """The database refused a message that the rules had found fit: an error of ours."""


class PostgresMessages:
    """Fits `chat.ports.MessageStore`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 2.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    # "Kept" is told to people: the commit must have reached the disk, whatever the server's default.
    LOCK = """
    SELECT c.last_number, peer.id AS peer_id,
        CASE WHEN c.user_low = $2 THEN c.low_read ELSE c.high_read END AS mark,
        CASE WHEN c.user_low = $2 THEN c.low_unread ELSE c.high_unread END AS unread,
        CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END
    FROM chat.connections c
    JOIN accounts.users peer
        ON peer.id = CASE WHEN c.user_low = $2 THEN c.user_high ELSE c.user_low END AND peer.deleted_at IS NULL
    WHERE c.id = $1 AND c.closed_at IS NULL AND $2 IN (c.user_low, c.user_high)
    FOR NO KEY UPDATE OF c
    """

    # After the lock: the same message, sent by another way at the same moment, is seen.
    FIND = """
    SELECT id, number, sender_id, client_id, body, sent_at
    FROM chat.messages
    WHERE connection_id = $1 AND sender_id = $2 AND client_id = $3
    """

    # Times do not go backwards where numbers go forward, though two nodes' clocks may differ.
    INSERT = """
    WITH numbered AS (
        UPDATE chat.connections
        SET last_number = last_number + 1,
            low_unread = low_unread + (user_low <> $2)::int,
            high_unread = high_unread + (user_high <> $2)::int,
            active_at = greatest(active_at, $6)
        WHERE id = $1
        RETURNING last_number, active_at, CASE WHEN user_low = $2 THEN high_unread ELSE low_unread END AS unread
    ), kept AS (
        INSERT INTO chat.messages (connection_id, number, id, sender_id, client_id, body, sent_at)
        SELECT $1, last_number, $3, $2, $4, $5, active_at FROM numbered
        RETURNING id, number, sender_id, client_id, body, sent_at
    )
    SELECT kept.*, numbered.unread FROM kept, numbered
    """

    async def send(self, draft: Draft, *, apart: Collection[UserId]) -> Sent:
        try:
            return await self._send(draft, apart)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
            # Not the database's own words: they quote what was said, and would go to a log.
            raise Unkeepable(type(error).__name__, getattr(error, "constraint_name", None)) from None

    async def _send(self, draft: Draft, apart: Collection[UserId]) -> Sent:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            row = await self._lock(connection, draft.connection_id, draft.sender_id)
            other = UserId(str(row["peer_id"]))
            if other in apart:
                raise NotConnected
            known = await connection.fetchrow(
                self.FIND, draft.connection_id, draft.sender_id, draft.client_id
            )
            if known is not None:
                if known["body"] != draft.body:
                    raise ClientIdReused("client_id: something else was sent under it")
                return Sent(message(known, draft.connection_id, known["id"]), other, None)
            kept: Any = await connection.fetchrow(
                self.INSERT,
                draft.connection_id,
                draft.sender_id,
                draft.id,
                draft.client_id,
                draft.body,
                moment(draft.sent_at),
            )
            return Sent(message(kept, draft.connection_id, kept["id"]), other, kept["unread"])

    READ = """
    UPDATE chat.connections
    SET low_read = CASE WHEN user_low = $2 THEN $3 ELSE low_read END,
        high_read = CASE WHEN user_low = $2 THEN high_read ELSE $3 END,
        low_unread = CASE WHEN user_low = $2 THEN beyond.count ELSE low_unread END,
        high_unread = CASE WHEN user_low = $2 THEN high_unread ELSE beyond.count END
    FROM (
        SELECT count(*) FROM chat.messages WHERE connection_id = $1 AND number > $3 AND sender_id <> $2
    ) AS beyond
    WHERE id = $1
    RETURNING beyond.count
    """

    async def read(self, connection_id: ConnectionId, user_id: UserId, up_to: int) -> Mark:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            row = await self._lock(connection, connection_id, user_id)
            other = UserId(str(row["peer_id"]))
            mark = read_mark(row["mark"], up_to, row["last_number"])
            if mark == row["mark"]:
                return Mark(mark, row["unread"], moved=False, other_id=other)
            unread = await connection.fetchval(self.READ, connection_id, user_id, mark)
            return Mark(mark, unread, moved=True, other_id=other)

    async def _lock(
        self, connection: Connection, connection_id: ConnectionId, user_id: UserId
    ) -> asyncpg.Record:
        row = await connection.fetchrow(self.LOCK, connection_id, user_id)
        if row is None:
            raise NotConnected
        return row

    IS_OPEN = """
    SELECT FROM chat.connections WHERE id = $1 AND closed_at IS NULL AND $2 IN (user_low, user_high)
    """

    SELECT_BEFORE = """
    SELECT id, number, sender_id, client_id, body, sent_at
    FROM chat.messages
    WHERE connection_id = $1 AND number < $2
    ORDER BY number DESC
    LIMIT $3
    """

    SELECT_AFTER = """
    SELECT id, number, sender_id, client_id, body, sent_at
    FROM chat.messages
    WHERE connection_id = $1 AND number > $2
    ORDER BY number
    LIMIT $3
    """

    async def messages(
        self,
        connection_id: ConnectionId,
        user_id: UserId,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[Message]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            if await connection.fetchrow(self.IS_OPEN, connection_id, user_id) is None:
                raise NotConnected
            if after is not None:
                rows = await connection.fetch(self.SELECT_AFTER, connection_id, after, limit)
            else:
                first = _HIGHEST if before is None else before
                rows = await connection.fetch(self.SELECT_BEFORE, connection_id, first, limit)
        return [message(row, connection_id, row["id"]) for row in rows]

    SELECT_UNREAD = """
    SELECT asked.user_id, found.id, found.unread
    FROM unnest($1::uuid[]) AS asked (user_id)
    CROSS JOIN LATERAL (
        (
            SELECT id, low_unread AS unread, active_at FROM chat.connections
            WHERE user_low = asked.user_id AND closed_at IS NULL AND low_unread > 0
        ) UNION ALL (
            SELECT id, high_unread, active_at FROM chat.connections
            WHERE user_high = asked.user_id AND closed_at IS NULL AND high_unread > 0
        )
        ORDER BY active_at DESC
        LIMIT $2
    ) found
    ORDER BY found.active_at DESC
    """

    async def unread(
        self, user_ids: Sequence[UserId], *, limit: int
    ) -> dict[UserId, dict[ConnectionId, int]]:
        found: dict[UserId, dict[ConnectionId, int]] = {}
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            for row in await connection.fetch(self.SELECT_UNREAD, user_ids, limit):
                found.setdefault(UserId(str(row["user_id"])), {})[ConnectionId(str(row["id"]))] = row[
                    "unread"
                ]
        return found


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_chat: type[MessageStore] = PostgresMessages
