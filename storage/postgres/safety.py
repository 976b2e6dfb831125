"""Blocks and reports in PostgreSQL: written once by their ids, asked for when Redis lost them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from base.ids import UserId
from chat.model import in_order
from safety.ports import BlockArchive, BlockBook, SafetyArchive, Written
from safety.records import Block, MadeBlock, Report, SafetyRecord
from storage.postgres.connections import close_pairs, lock_pairs
from storage.postgres.pages import start_of
from storage.postgres.pool import acquire, transaction
from storage.postgres.times import milliseconds, moment

_REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class PostgresSafety:
    """Fits `safety.ports.SafetyArchive` and `BlockArchive`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def write(self, records: Sequence[SafetyRecord]) -> Written:
        # One order for all recorders: two that write the same records wait for each other, never in a ring.
        in_order = sorted(records, key=lambda record: record.id)
        try:
            return Written(in_force=await self._write(in_order), refused={})
        except _REFUSED:
            return await self._write_one_by_one(in_order)

    BLOCKS_OF = """
    SELECT blocker_id AS one, blocked_id AS other
    FROM safety.blocks WHERE blocker_id = ANY($1::uuid[]) AND removed_at IS NULL
    UNION
    SELECT blocked_id, blocker_id
    FROM safety.blocks WHERE blocked_id = ANY($1::uuid[]) AND removed_at IS NULL
    """

    async def blocks_of(self, user_ids: Sequence[UserId]) -> dict[UserId, set[UserId]]:
        found: dict[UserId, set[UserId]] = {}
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            for row in await connection.fetch(self.BLOCKS_OF, user_ids):
                found.setdefault(UserId(str(row["one"])), set()).add(UserId(str(row["other"])))
        return found

    # Both conflicts are meant: the same block again, and another block of the same pair.
    INSERT_BLOCKS = """
    INSERT INTO safety.blocks (id, blocker_id, blocked_id, call_id, created_at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[])
    ON CONFLICT DO NOTHING
    """

    IN_FORCE = """
    SELECT made.id
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS made (id, blocker_id, blocked_id)
    JOIN safety.blocks b
        ON b.blocker_id = made.blocker_id AND b.blocked_id = made.blocked_id AND b.removed_at IS NULL
    """

    INSERT_REPORTS = """
    INSERT INTO safety.reports (
        id, reporter_id, reported_id, call_id, category, note, created_at, connection_id
    )
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[], $8::uuid[]
    )
    ON CONFLICT (id) DO NOTHING
    """

    async def _write(self, records: Sequence[SafetyRecord]) -> frozenset[str]:
        blocks = [record for record in records if isinstance(record, Block)]
        reports = [record for record in records if isinstance(record, Report)]
        in_force: list[Any] = []
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            if blocks:
                # Nobody connects the two while this is written; what connects them ends with it.
                await lock_pairs(connection, (in_order(block.by_id, block.other_id) for block in blocks))
                ids = [block.id for block in blocks]
                by_ids = [block.by_id for block in blocks]
                other_ids = [block.other_id for block in blocks]
                await connection.execute(
                    self.INSERT_BLOCKS,
                    ids,
                    by_ids,
                    other_ids,
                    [block.call_id for block in blocks],
                    [moment(block.made_at) for block in blocks],
                )
                in_force = await connection.fetch(self.IN_FORCE, ids, by_ids, other_ids)
                standing = {str(row["id"]) for row in in_force}
                apart = [in_order(block.by_id, block.other_id) for block in blocks if block.id in standing]
                await close_pairs(connection, apart, max(block.made_at for block in blocks))
            if reports:
                await connection.execute(
                    self.INSERT_REPORTS,
                    [report.id for report in reports],
                    [report.by_id for report in reports],
                    [report.other_id for report in reports],
                    [report.call_id for report in reports],
                    [report.category.value for report in reports],
                    [report.note for report in reports],
                    [moment(report.made_at) for report in reports],
                    [report.connection_id for report in reports],
                )
        return frozenset(str(row["id"]) for row in in_force)

    async def _write_one_by_one(self, records: Sequence[SafetyRecord]) -> Written:
        in_force: set[str] = set()
        refused: dict[str, str] = {}
        for record in records:
            try:
                in_force |= await self._write([record])
            except _REFUSED as error:
                # Not the database's own words: they quote the values.
                constraint = getattr(error, "constraint_name", None)
                refused[record.id] = f"{type(error).__name__} {constraint or ''}".strip()
        return Written(frozenset(in_force), refused)


class PostgresBlockBook:
    """Fits `safety.ports.BlockBook`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    SELECT_MADE = """
    SELECT b.id, b.created_at, u.first_name
    FROM safety.blocks b
    JOIN accounts.users u ON u.id = b.blocked_id
    WHERE b.blocker_id = $1 AND b.removed_at IS NULL AND (b.created_at, b.id) < ($2, $3)
    ORDER BY b.created_at DESC, b.id DESC
    LIMIT $4
    """

    async def made_by(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> list[MadeBlock]:
        created_at, block_id = start_of(before)
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_MADE, user_id, created_at, block_id, limit)
        return [MadeBlock(str(row["id"]), row["first_name"], milliseconds(row["created_at"])) for row in rows]

    TAKE_BACK = """
    UPDATE safety.blocks SET removed_at = coalesce(removed_at, now())
    WHERE id = $1 AND blocker_id = $2
    RETURNING blocked_id
    """

    async def take_back(self, block_id: str, by: UserId) -> UserId | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            other = await connection.fetchval(self.TAKE_BACK, block_id, by)
        return None if other is None else UserId(str(other))

    ARE_APART = """
    SELECT EXISTS (
        SELECT FROM safety.blocks
        WHERE removed_at IS NULL AND (blocker_id, blocked_id) IN (($1, $2), ($2, $1))
    )
    """

    async def are_apart(self, one: UserId, other: UserId) -> bool:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            return bool(await connection.fetchval(self.ARE_APART, one, other))


if TYPE_CHECKING:  # says that the ports are met; their owners never import this module
    _fits_archive: type[SafetyArchive] = PostgresSafety
    _fits_blocks: type[BlockArchive] = PostgresSafety
    _fits_book: type[BlockBook] = PostgresBlockBook
