"""Calls that ended, in PostgreSQL: `jobs.ports.CallArchive` for the recorder, `rest.ports.History` for readers.

Decides what becomes of a record that is written twice, or again in a later version. Knows the tables of
`0002_calls.sql` and nothing of where the records come from.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import msgspec

from base.errors import Unavailable
from base.ids import CallId, UserId
from chat.model import Made, Wish
from jobs.ports import CallArchive, Recorded, Refused
from rest.ports import History, Interaction, InteractionPeer
from signaling.call.record import Call
from signaling.call.states import SEATS
from signaling.connecting import wish_of
from signaling.dispatch.safety import PastCalls
from storage.postgres import consent
from storage.postgres.connections import make_connections
from storage.postgres.feedback import feedback_of
from storage.postgres.pages import start_of
from storage.postgres.pool import acquire, transaction
from storage.postgres.reads import PrimaryReads, Reads
from storage.postgres.times import milliseconds, milliseconds_or_none, moment, moment_or_none

_ATTEMPTS: Final = 4


class _WrittenMeanwhile(Exception):
    """Another recorder has written one of the calls first."""


class PostgresCallArchive:
    """Writes ended calls; one transaction a batch, one statement a table."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def record(self, calls: Sequence[Call], *, apart: Collection[CallId] = ()) -> Recorded:
        # One order for all recorders: two that write the same calls wait for each other, never in a ring.
        in_order = sorted(calls, key=lambda call: call.call_id)
        for _ in range(_ATTEMPTS):
            try:
                async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
                    return await self._record(connection, in_order, apart)
            except _WrittenMeanwhile:
                continue
            except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, OverflowError) as error:
                raise Refused(_reason(error)) from error
        raise Unavailable("others kept writing the same calls")

    # Redis forgets a call once it is written here: the commit must have reached the disk, whatever the server's default.
    COMMIT_TO_DISK = """
    SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') = 'off'
    """

    # Returns only the calls that were unknown, or known in an earlier version, or whose log says less than this one: of
    # a past that the store has lost, and its version with it. The facts of such a past are not those that hold.
    UPSERT_CALLS = """
    INSERT INTO calls.calls AS known (
        id, intent, version, created_at, live_at, ended_at, duration_ms, reason, connected, extensions, resets,
        consent_entries, consent_head
    )
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::bigint[],
        $8::text[], $9::boolean[], $10::int[], $11::int[], $12::int[], $13::bytea[]
    )
    ON CONFLICT (id) DO UPDATE SET
        version = greatest(known.version, excluded.version),
        live_at = CASE WHEN excluded.version > known.version THEN excluded.live_at ELSE known.live_at END,
        ended_at = CASE WHEN excluded.version > known.version THEN excluded.ended_at ELSE known.ended_at END,
        duration_ms = CASE WHEN excluded.version > known.version THEN excluded.duration_ms ELSE known.duration_ms END,
        reason = CASE WHEN excluded.version > known.version THEN excluded.reason ELSE known.reason END,
        connected = CASE WHEN excluded.version > known.version THEN excluded.connected ELSE known.connected END,
        extensions = CASE WHEN excluded.version > known.version THEN excluded.extensions ELSE known.extensions END,
        resets = CASE WHEN excluded.version > known.version THEN excluded.resets ELSE known.resets END,
        -- The log only grows; the schema holds to that, too.
        consent_head = CASE
            WHEN excluded.consent_entries > coalesce(known.consent_entries, -1) THEN excluded.consent_head
            ELSE known.consent_head
        END,
        consent_entries = greatest(known.consent_entries, excluded.consent_entries),
        recorded_at = now()
    WHERE excluded.version > known.version OR excluded.consent_entries > known.consent_entries
    RETURNING
        id,
        xmax = 0 AS is_new,
        -- The inner queries still see the row as it was before this statement.
        version > coalesce((SELECT earlier.version FROM calls.calls earlier WHERE earlier.id = known.id), -1) AS is_newer,
        connected AND NOT coalesce(
            (SELECT earlier.connected FROM calls.calls earlier WHERE earlier.id = known.id), false
        ) AS is_newly_connected
    """

    async def _record(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        calls: Sequence[Call],
        apart: Collection[CallId],
    ) -> Recorded:
        await connection.execute(self.COMMIT_TO_DISK)
        logs, known = await consent.sealed_logs(connection, calls)
        facts = (_call_row(call, logs.get(call.call_id)) for call in calls)
        rows = await connection.fetch(self.UPSERT_CALLS, *_columns(facts, 13))
        by_id = {UUID(call.call_id): call for call in calls}
        if by_id.keys() - known - {row["id"] for row in rows if row["is_new"]}:
            # Some came there since we looked: what we sealed may not fit what is kept.
            raise _WrittenMeanwhile
        written = [by_id[row["id"]] for row in rows]
        if written:
            newer = [by_id[row["id"]] for row in rows if row["is_newer"]]
            await self._insert_parts(connection, written, newer, logs)
        # Only once: writing a call again must not bring back a connection that was removed since.
        wishes = [wish_of(by_id[row["id"]]) for row in rows if row["is_newly_connected"]]
        wanted = [wish for wish in wishes if wish is not None and wish.call_id not in apart]
        made = await self._connect(connection, wanted) if wanted else []
        new = sum(row["is_new"] for row in rows)
        news = tuple(one.connection_id for one in made if one.is_news)
        return Recorded(new=new, updated=len(rows) - new, news=news)

    UPSERT_PARTICIPANTS = """
    INSERT INTO calls.participants (call_id, seat, user_id, role, queued_at, requeued, quality, ended_at)
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::boolean[], $7::jsonb[],
        $8::timestamptz[]
    )
    ON CONFLICT (call_id, seat) DO UPDATE SET
        requeued = excluded.requeued, quality = excluded.quality, ended_at = excluded.ended_at
    """

    UPSERT_REFUSALS = """
    INSERT INTO calls.refusals AS known (call_id, code, count)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[])
    ON CONFLICT (call_id, code) DO UPDATE SET count = greatest(known.count, excluded.count)
    """

    async def _insert_parts(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        calls: Sequence[Call],
        newer: Sequence[Call],
        logs: Mapping[str, consent.SealedLog],
    ) -> None:
        participants = (row for call in newer for row in _participant_rows(call))
        await connection.execute(self.UPSERT_PARTICIPANTS, *_columns(participants, 8))
        logged = [call for call in calls if call.call_id in logs]
        entries = [row for call in logged for row in consent.entry_rows(call.call_id, logs[call.call_id])]
        if entries:
            await connection.execute(consent.INSERT_ENTRIES, *_columns(entries, consent.ENTRY_COLUMNS))
        refusals = [row for call in logged for row in _refusal_rows(call)]
        if refusals:
            await connection.execute(self.UPSERT_REFUSALS, *_columns(refusals, 3))

    LINK_CONNECTIONS = """
    UPDATE calls.calls
    SET connection_id = made.connection_id
    FROM unnest($1::uuid[], $2::uuid[]) AS made (call_id, connection_id)
    WHERE calls.id = made.call_id
    """

    async def _connect(
        self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", wishes: Sequence[Wish]
    ) -> list[Made]:
        """Makes what is not made yet: mostly the hub did, in the middle of the call."""
        made = await make_connections(connection, wishes)
        await connection.execute(
            self.LINK_CONNECTIONS, [one.call_id for one in made], [one.connection_id for one in made]
        )
        return made


class PostgresHistory:
    """Reads a person's ended calls; the list of them may come from `reads`, a little old."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        timeout_s: float = 5.0,
        reads: Reads | None = None,
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._reads = reads or PrimaryReads(pool, timeout_s=timeout_s)

    # The name is the peer's of today, not of the call: so it goes when the peer's account goes.
    SELECT_INTERACTIONS = """
    SELECT
        c.id, c.intent, me.role, u.first_name, c.live_at, c.ended_at, c.duration_ms, c.reason, c.connected,
        c.connection_id, f.rating, f.tags, f.note, f.given_at
    FROM calls.participants me
    JOIN calls.calls c ON c.id = me.call_id
    JOIN calls.participants peer ON peer.call_id = me.call_id AND peer.seat <> me.seat
    JOIN accounts.users u ON u.id = peer.user_id
    LEFT JOIN calls.feedback f ON f.call_id = me.call_id AND f.user_id = me.user_id
    WHERE me.user_id = $1 AND (me.ended_at, me.call_id) < ($2, $3)
    ORDER BY me.ended_at DESC, me.call_id DESC
    LIMIT $4
    """

    async def interactions(
        self, user_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Interaction]:
        ended_at, call_id = start_of(before)
        rows = await self._reads.fetch(self.SELECT_INTERACTIONS, user_id, ended_at, call_id, limit)
        return [_interaction(row) for row in rows]

    PARTNER = """
    SELECT peer.user_id
    FROM calls.participants me
    JOIN calls.participants peer ON peer.call_id = me.call_id AND peer.seat <> me.seat
    WHERE me.call_id = $1 AND me.user_id = $2
    """

    async def partner(self, call_id: CallId, user_id: UserId) -> UserId | None:
        """Who talked with the user in that call; fits `signaling.dispatch.safety.PastCalls`."""
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            other = await connection.fetchval(self.PARTNER, call_id, user_id)
        return None if other is None else UserId(str(other))


def _interaction(row: asyncpg.Record) -> Interaction:
    connection_id = row["connection_id"]
    return Interaction(
        call_id=str(row["id"]),
        intent=row["intent"],
        role=row["role"],
        peer=InteractionPeer(first_name=row["first_name"]),
        started_at=milliseconds_or_none(row["live_at"]),
        ended_at=milliseconds(row["ended_at"]),
        duration_ms=row["duration_ms"],
        reason=row["reason"],
        connected=row["connected"],
        connection_id=None if connection_id is None else str(connection_id),
        feedback=None if row["rating"] is None else feedback_of(row),
    )


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """One list for each column: what `unnest` takes."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def _reason(error: Exception) -> str:
    # Not the database's own words: they quote the values.
    constraint = getattr(error, "constraint_name", None)
    return type(error).__name__ if constraint is None else f"{type(error).__name__}: {constraint}"


def _ended_at(call: Call) -> int:
    if call.ended_at is None:
        raise Refused("it has not ended")
    return call.ended_at


def _call_row(call: Call, log: consent.SealedLog | None) -> tuple[Any, ...]:
    if call.reason is None:
        raise Refused("it has no end reason")
    return (
        call.call_id,
        call.intent,
        call.version,
        moment(call.created_at),
        moment_or_none(call.live_since),
        moment(_ended_at(call)),
        # Two nodes took the two times: their clocks may differ by more than a very short call lasted.
        max(0, call.duration_ms),
        call.reason,
        call.connected,
        call.extensions,
        call.resets,
        *(consent.NO_SEAL if log is None else log.seal),
    )


def _participant_rows(call: Call) -> Iterable[tuple[Any, ...]]:
    for seat in SEATS:
        person = call.seat(seat)
        yield (
            call.call_id,
            seat,
            person.user_id,
            person.role,
            moment(person.queued_at),
            person.requeued,
            None if person.stats is None else msgspec.to_builtins(person.stats),
            moment(_ended_at(call)),
        )


def _refusal_rows(call: Call) -> Iterable[tuple[Any, ...]]:
    # In the order of the codes, for the reason that calls are in order.
    return ((call.call_id, code, count) for code, count in sorted(call.refusals.items()))


if TYPE_CHECKING:  # says that the ports are met; the owners of the ports never import this module
    _fits_recorder: type[CallArchive] = PostgresCallArchive
    _fits_rest: type[History] = PostgresHistory
    _fits_safety: type[PastCalls] = PostgresHistory
