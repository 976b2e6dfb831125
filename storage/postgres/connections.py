"""Who is connected with whom, in PostgreSQL. Fits `chat.ports.ConnectionStore`.

Whoever writes a connection of a pair, or a block of it, holds the pair's lock until the end of their transaction: so of
two that come at once the later one sees what the earlier one wrote, and no connection stands beside a block.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import asyncpg

from accounts.model import age_at
from base.ids import CallId, ConnectionId, UserId
from chat.model import Acquaintance, Made, MadeConnection, Message, Peer, Untold, Wish, in_order
from chat.ports import ConnectionStore
from storage.postgres.pages import start_of
from storage.postgres.pool import acquire, transaction
from storage.postgres.reads import PrimaryReads, Reads
from storage.postgres.times import milliseconds, moment

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
TELL_AFTER_S = 5
"""Whoever writes a connection tells the two at once; after this long somebody else does."""

LOCK_PAIRS = """
SELECT pg_advisory_xact_lock(key)
FROM (
    SELECT DISTINCT hashtextextended(low::text || high::text, 0) AS key
    FROM unnest($1::uuid[], $2::uuid[]) AS pair (low, high)
    ORDER BY key
) AS keys
"""

# The two conditions on the past: what was ended, or blocked, after the call began is not brought back by a call that is
# written late, whatever became of the block.
MAKE = f"""
INSERT INTO chat.connections AS known (
    id, user_low, user_high, call_id, made_at, agreed_call_id, active_at, tell_at
)
SELECT DISTINCT ON (wish.user_low, wish.user_high)
    wish.id, wish.user_low, wish.user_high, wish.call_id, wish.made_at, wish.call_id, wish.made_at,
    now() + interval '{TELL_AFTER_S} s'
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[]) AS wish (
    id, user_low, user_high, call_id, made_at
)
JOIN accounts.users low ON low.id = wish.user_low AND low.deleted_at IS NULL
JOIN accounts.users high ON high.id = wish.user_high AND high.deleted_at IS NULL
WHERE NOT EXISTS (
    SELECT FROM safety.blocks block
    WHERE (block.blocker_id, block.blocked_id) IN (
        (wish.user_low, wish.user_high), (wish.user_high, wish.user_low)
    ) AND (block.removed_at IS NULL OR block.created_at >= wish.made_at)
) AND NOT EXISTS (
    SELECT FROM chat.connections past
    WHERE past.user_low = wish.user_low AND past.user_high = wish.user_high
        AND past.closed_at IS NOT NULL AND past.agreed_call_id >= wish.call_id
)
ORDER BY wish.user_low, wish.user_high, wish.call_id DESC
ON CONFLICT (user_low, user_high) WHERE closed_at IS NULL DO UPDATE SET
    agreed_call_id = excluded.agreed_call_id, tell_at = excluded.tell_at
WHERE known.agreed_call_id < excluded.agreed_call_id
RETURNING id
"""  # noqa: S608  a constant of ours

# A statement of its own: it sees a row of the same pair that somebody else has just committed.
OPEN_OF_WISHES = """
SELECT wish.call_id, open.id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS wish (call_id, user_low, user_high)
JOIN chat.connections open USING (user_low, user_high)
WHERE open.closed_at IS NULL
"""

CLOSE_PAIRS = """
UPDATE chat.connections AS open
SET closed_at = $3, close_reason = 'blocked', tell_at = NULL
FROM unnest($1::uuid[], $2::uuid[]) AS pair (low, high)
WHERE open.user_low = pair.low AND open.user_high = pair.high AND open.closed_at IS NULL
"""


async def lock_pairs(connection: Connection, pairs: Iterable[tuple[UserId, UserId]]) -> None:
    """Waits for, and then keeps until the transaction's end, the locks of pairs; in one order for everybody."""
    lows, highs = _unzip(pairs)
    await connection.execute(LOCK_PAIRS, lows, highs)


async def make_connections(connection: Connection, wishes: Sequence[Wish]) -> list[Made]:
    """`ConnectionStore.make`, in the caller's transaction."""
    lows, highs = _unzip(wish.pair for wish in wishes)
    call_ids = [wish.call_id for wish in wishes]
    await connection.execute(LOCK_PAIRS, lows, highs)
    written = await connection.fetch(
        MAKE,
        [wish.connection_id for wish in wishes],
        lows,
        highs,
        call_ids,
        [moment(wish.made_at) for wish in wishes],
    )
    news = {row["id"] for row in written}
    return [
        Made(CallId(str(row["call_id"])), ConnectionId(str(row["id"])), row["id"] in news)
        for row in await connection.fetch(OPEN_OF_WISHES, call_ids, lows, highs)
    ]


async def close_pairs(
    connection: Connection, pairs: Iterable[tuple[UserId, UserId]], blocked_at: int
) -> None:
    """Ends the open connections of pairs that a block keeps apart; the caller holds their locks."""
    lows, highs = _unzip(pairs)
    await connection.execute(CLOSE_PAIRS, lows, highs, moment(blocked_at))


class PostgresConnections:
    """Fits `chat.ports.ConnectionStore`; the history of made ones may come from `reads`, a little old."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        timeout_s: float = 2.0,
        reads: Reads | None = None,
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._reads = reads or PrimaryReads(pool, timeout_s=timeout_s)

    async def make(self, wishes: Sequence[Wish]) -> list[Made]:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            return await make_connections(connection, wishes)

    SELECT_UNTOLD = """
    SELECT c.id, c.agreed_call_id, c.user_low, c.user_high,
        low.first_name AS low_name, low.birth_date AS low_birth, low.languages AS low_languages,
        low.email_verified_at IS NOT NULL AS low_verified,
        high.first_name AS high_name, high.birth_date AS high_birth, high.languages AS high_languages,
        high.email_verified_at IS NOT NULL AS high_verified
    FROM chat.connections c
    JOIN accounts.users low ON low.id = c.user_low
    JOIN accounts.users high ON high.id = c.user_high
    WHERE c.id = ANY($1::uuid[]) AND c.tell_at IS NOT NULL AND c.closed_at IS NULL
    """

    async def untold(self, connection_ids: Collection[ConnectionId], now_ms: int) -> list[Untold]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_UNTOLD, list(connection_ids))
        return [_untold(row, now_ms) for row in rows]

    # Two that claim at once get different rows.
    CLAIM_UNTOLD = f"""
    UPDATE chat.connections SET tell_at = now() + interval '{TELL_AFTER_S} s'
    WHERE id IN (
        SELECT id FROM chat.connections WHERE tell_at <= now() ORDER BY tell_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """  # noqa: S608  a constant of ours

    async def claim_untold(self, now_ms: int, *, limit: int) -> list[Untold]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            claimed = [row["id"] for row in await connection.fetch(self.CLAIM_UNTOLD, limit)]
            rows = await connection.fetch(self.SELECT_UNTOLD, claimed) if claimed else []
        return [_untold(row, now_ms) for row in rows]

    # Not where a later call has made news of it again meanwhile.
    TOLD = """
    UPDATE chat.connections AS c SET tell_at = NULL
    FROM unnest($1::uuid[], $2::uuid[]) AS told (id, call_id)
    WHERE c.id = told.id AND c.agreed_call_id = told.call_id
    """

    async def told(self, news: Sequence[Untold]) -> None:
        ids, call_ids = [one.connection_id for one in news], [one.call_id for one in news]
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            await connection.execute(self.TOLD, ids, call_ids)

    OTHERS = """
    SELECT c.id, peer.id AS peer_id
    FROM chat.connections c
    JOIN accounts.users peer
        ON peer.id = CASE WHEN c.user_low = $2 THEN c.user_high ELSE c.user_low END AND peer.deleted_at IS NULL
    WHERE c.id = ANY($1::uuid[]) AND c.closed_at IS NULL AND $2 IN (c.user_low, c.user_high)
    """

    async def others(
        self, connection_ids: Collection[ConnectionId], user_id: UserId
    ) -> dict[ConnectionId, UserId]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.OTHERS, list(connection_ids), user_id)
        return {ConnectionId(str(row["id"])): UserId(str(row["peer_id"])) for row in rows}

    STILL_OPEN = "SELECT id FROM chat.connections WHERE id = ANY($1::uuid[]) AND closed_at IS NULL"

    async def still_open(self, connection_ids: Collection[ConnectionId]) -> set[ConnectionId]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.STILL_OPEN, list(connection_ids))
        return {ConnectionId(str(row["id"])) for row in rows}

    EVER_WITH = """
    SELECT CASE WHEN user_low = $2 THEN user_high ELSE user_low END
    FROM chat.connections
    WHERE id = $1 AND $2 IN (user_low, user_high)
    """

    async def ever_with(self, connection_id: ConnectionId, user_id: UserId) -> UserId | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            other = await connection.fetchval(self.EVER_WITH, connection_id, user_id)
        return None if other is None else UserId(str(other))

    # From either side of the pair, each by an index of its own.
    SELECT_ACQUAINTANCES = """
    WITH mine AS (
        (
            SELECT c.id, c.user_high AS peer_id, c.made_at, c.active_at, c.last_number,
                c.low_unread AS unread, c.low_read AS mark, c.high_read AS peer_mark
            FROM chat.connections c
            JOIN accounts.users peer ON peer.id = c.user_high AND peer.deleted_at IS NULL
            WHERE c.user_low = $1 AND c.closed_at IS NULL AND (c.active_at, c.id) < ($2, $3)
            ORDER BY c.active_at DESC, c.id DESC
            LIMIT $4
        ) UNION ALL (
            SELECT c.id, c.user_low, c.made_at, c.active_at, c.last_number,
                c.high_unread, c.high_read, c.low_read
            FROM chat.connections c
            JOIN accounts.users peer ON peer.id = c.user_low AND peer.deleted_at IS NULL
            WHERE c.user_high = $1 AND c.closed_at IS NULL AND (c.active_at, c.id) < ($2, $3)
            ORDER BY c.active_at DESC, c.id DESC
            LIMIT $4
        )
    )
    SELECT mine.*, peer.first_name, peer.birth_date, peer.languages,
        peer.email_verified_at IS NOT NULL AS verified,
        m.id AS message_id, m.number, m.sender_id, m.client_id, m.body, m.sent_at
    FROM mine
    JOIN accounts.users peer ON peer.id = mine.peer_id
    LEFT JOIN chat.messages m ON m.connection_id = mine.id AND m.number = mine.last_number
    ORDER BY mine.active_at DESC, mine.id DESC
    LIMIT $4
    """

    async def acquaintances(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int, now_ms: int
    ) -> list[Acquaintance]:
        active_at, after_id = start_of(before)
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_ACQUAINTANCES, user_id, active_at, after_id, limit)
        return [_acquaintance(row, now_ms) for row in rows]

    SELECT_MADE = """
    SELECT c.id, c.call_id, c.made_at, peer.id AS peer_id, peer.first_name
    FROM chat.connections c
    JOIN accounts.users peer
        ON peer.id = CASE WHEN c.user_low = $1 THEN c.user_high ELSE c.user_low END AND peer.deleted_at IS NULL
    WHERE (c.user_low = $1 OR c.user_high = $1) AND c.closed_at IS NULL AND (c.made_at, c.id) < ($2, $3)
    ORDER BY c.made_at DESC, c.id DESC
    LIMIT $4
    """

    async def made(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> list[MadeConnection]:
        made_at, after_id = start_of(before)
        rows = await self._reads.fetch(self.SELECT_MADE, user_id, made_at, after_id, limit)
        return [
            MadeConnection(
                ConnectionId(str(row["id"])),
                CallId(str(row["call_id"])),
                UserId(str(row["peer_id"])),
                row["first_name"],
                milliseconds(row["made_at"]),
            )
            for row in rows
        ]

    END = """
    UPDATE chat.connections SET closed_at = $3, close_reason = 'deleted', tell_at = NULL
    WHERE id = $1 AND closed_at IS NULL AND $2 IN (user_low, user_high)
    RETURNING CASE WHEN user_low = $2 THEN user_high ELSE user_low END
    """

    async def end(self, connection_id: ConnectionId, user_id: UserId, now_ms: int) -> UserId | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            other = await connection.fetchval(self.END, connection_id, user_id, moment(now_ms))
        return None if other is None else UserId(str(other))

    # Also what the recorder of the block has ended a moment before.
    PARTED = """
    SELECT id FROM chat.connections
    WHERE user_low = $1 AND user_high = $2 AND close_reason = 'blocked' AND closed_at >= $3
    """

    async def part(self, one: UserId, other: UserId, blocked_at: int) -> list[ConnectionId]:
        pair = in_order(one, other)
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            await lock_pairs(connection, [pair])
            await close_pairs(connection, [pair], blocked_at)
            rows = await connection.fetch(self.PARTED, *pair, moment(blocked_at))
        return [ConnectionId(str(row["id"])) for row in rows]


def _unzip(pairs: Iterable[tuple[UserId, UserId]]) -> tuple[list[UserId], list[UserId]]:
    in_lists: tuple[list[UserId], list[UserId]] = ([], [])
    for low, high in pairs:
        in_lists[0].append(low)
        in_lists[1].append(high)
    return in_lists


def _untold(row: asyncpg.Record, now_ms: int) -> Untold:
    low = Peer(
        row["low_name"], age_at(row["low_birth"], now_ms), tuple(row["low_languages"]), row["low_verified"]
    )
    high = Peer(
        row["high_name"],
        age_at(row["high_birth"], now_ms),
        tuple(row["high_languages"]),
        row["high_verified"],
    )
    return Untold(
        ConnectionId(str(row["id"])),
        CallId(str(row["agreed_call_id"])),
        {UserId(str(row["user_low"])): high, UserId(str(row["user_high"])): low},
    )


def _acquaintance(row: asyncpg.Record, now_ms: int) -> Acquaintance:
    connection_id = ConnectionId(str(row["id"]))
    return Acquaintance(
        connection_id=connection_id,
        peer_id=UserId(str(row["peer_id"])),
        peer=Peer(
            row["first_name"], age_at(row["birth_date"], now_ms), tuple(row["languages"]), row["verified"]
        ),
        made_at=milliseconds(row["made_at"]),
        active_at=milliseconds(row["active_at"]),
        last_message=None if row["message_id"] is None else message(row, connection_id, row["message_id"]),
        unread=row["unread"],
        read_up_to=row["mark"],
        peer_read_up_to=row["peer_mark"],
    )


def message(row: Any, connection_id: ConnectionId, message_id: UUID) -> Message:
    """A message from a row that has its columns."""
    return Message(
        connection_id=connection_id,
        id=str(message_id),
        number=row["number"],
        sender_id=UserId(str(row["sender_id"])),
        client_id=row["client_id"],
        body=row["body"],
        sent_at=milliseconds(row["sent_at"]),
    )


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits_chat: type[ConnectionStore] = PostgresConnections
