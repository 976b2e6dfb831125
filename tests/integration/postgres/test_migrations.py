"""Bringing a database to this release's schema, on a real PostgreSQL."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from base.errors import Unavailable
from minuet.embedded import EmbeddedPostgres
from storage.postgres import migrations
from storage.postgres.migrations import (
    Migration,
    MigrationChanged,
    MigrationFailed,
    SchemaStale,
    check_schema,
    load,
    migrate,
    status,
)
from storage.postgres.pool import open_pool

ONE = Migration(1, "one", "CREATE TABLE one (id int);")
TWO = Migration(2, "two", "CREATE TABLE two (id int); INSERT INTO two VALUES (1);")
BROKEN = Migration(3, "broken", "CREATE TABLE three (id int); SELECT 1 / 0;")


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def test_an_empty_database_gets_every_migration_once(empty_database_url: str) -> None:
    """The second run finds nothing to do."""
    applied = await migrate(empty_database_url)

    assert applied == load()
    assert await migrate(empty_database_url) == []
    found = await status(empty_database_url)
    assert [row.label for row in found.applied] == [migration.label for migration in load()]
    assert (found.pending, found.changed, found.unknown) == ((), (), ())


async def test_status_changes_nothing(empty_database_url: str) -> None:
    """Not even the table of migrations is made by looking."""
    found = await status(empty_database_url, [ONE])

    assert found.pending == (ONE,)
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT to_regclass('minuet.migrations')") is None
    await connection.close()


async def test_only_what_is_missing_is_applied(empty_database_url: str) -> None:
    """In the order of their numbers."""
    assert await migrate(empty_database_url, [ONE]) == [ONE]
    assert await migrate(empty_database_url, [ONE, TWO]) == [TWO]
    assert await tables(empty_database_url) == {"one", "two"}


async def test_a_migration_that_fails_leaves_no_trace(empty_database_url: str) -> None:
    """Those before it stay; once mended, the next run goes on from there."""
    with pytest.raises(MigrationFailed, match="0003_broken: division by zero"):
        await migrate(empty_database_url, [ONE, TWO, BROKEN])
    assert await tables(empty_database_url) == {"one", "two"}

    mended = Migration(3, "broken", "CREATE TABLE three (id int);")
    assert await migrate(empty_database_url, [ONE, TWO, mended]) == [mended]


async def test_a_migration_that_was_changed_afterwards_is_refused(empty_database_url: str) -> None:
    """Before anything else is applied: the database is not what the files say."""
    await migrate(empty_database_url, [ONE])
    changed = Migration(1, "one", ONE.sql + " -- a small change")

    with pytest.raises(MigrationChanged, match="0001_one"):
        await migrate(empty_database_url, [changed, TWO])
    assert await tables(empty_database_url) == {"one"}


async def test_a_newer_database_is_good_enough_for_an_older_release(empty_database_url: str) -> None:
    """During a rolling update old nodes still start."""
    await migrate(empty_database_url, [ONE, TWO])
    pool = await open_pool(empty_database_url)

    await check_schema(pool, [ONE])
    assert [row.label for row in (await status(empty_database_url, [ONE])).unknown] == ["0002_two"]
    await pool.close()


async def test_a_stale_schema_is_refused_with_the_command_that_helps(empty_database_url: str) -> None:
    """The server does not start on it."""
    await migrate(empty_database_url, [ONE])
    pool = await open_pool(empty_database_url)

    with pytest.raises(SchemaStale, match=r"lacks 0002_two: run `minuet migrate up`"):
        await check_schema(pool, [ONE, TWO])
    with pytest.raises(MigrationChanged):
        await check_schema(pool, [Migration(1, "one", "other")])
    await pool.close()


async def test_a_database_without_any_schema_is_stale(empty_database_url: str) -> None:
    """A first start says the same thing."""
    pool = await open_pool(empty_database_url)

    with pytest.raises(SchemaStale, match="0001_accounts"):
        await check_schema(pool)
    await pool.close()


async def test_of_many_who_migrate_at_once_one_does_it(empty_database_url: str) -> None:
    """The others wait, then find it done: a deployment may start all its nodes together."""
    done = await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))

    assert sorted(map(len, done)) == [0, 0, 0, 0, len(load())]


async def test_a_migrator_that_died_does_not_block_the_next(empty_database_url: str) -> None:
    """The lock belongs to the session and goes with it."""
    dead = await asyncpg.connect(empty_database_url)
    await dead.fetchval(migrations.TRY_LOCK, migrations.ADVISORY_LOCK)
    waiting = asyncio.create_task(migrate(empty_database_url, [ONE]))
    await asyncio.sleep(0.3)
    assert not waiting.done()

    dead.terminate()

    assert await asyncio.wait_for(waiting, 30) == [ONE]


async def test_a_migration_does_not_queue_behind_a_long_transaction(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every query after it would queue too. It gives up, says so, and may be run again."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 200)
    await migrate(empty_database_url, [ONE])
    reader = await asyncpg.connect(empty_database_url)
    alter = Migration(2, "alter", "ALTER TABLE one ADD COLUMN name text;")
    async with reader.transaction():
        await reader.fetch("SELECT * FROM one")
        with pytest.raises(Unavailable):
            await asyncio.wait_for(migrate(empty_database_url, [ONE, alter]), 30)
    await reader.close()

    assert await migrate(empty_database_url, [ONE, alter]) == [alter]


async def test_a_server_that_is_away_is_unavailable(private_postgres: EmbeddedPostgres) -> None:
    """For migrating, for looking, and for the check at start."""
    url = private_postgres.url
    pool = await open_pool(url, timeout_s=1)
    await private_postgres.kill()

    for attempt in (migrate(url), status(url), check_schema(pool)):
        with pytest.raises(Unavailable):
            await attempt
    await pool.close()


async def test_a_server_that_is_too_old_is_refused(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in words, not by a syntax error in some migration."""
    monkeypatch.setattr(migrations, "FLOOR", 990_000)

    with pytest.raises(migrations.ServerTooOld, match="too old"):
        await migrate(empty_database_url)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["1_short.sql"], "not named"),
        (["0001_A.sql"], "not named"),
        (["0001_a.sql", "0001_b.sql"], "same|number"),
    ],
)
def test_misnamed_files_are_refused(tmp_path: Path, names: list[str], problem: str) -> None:
    """Order must not depend on luck."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")

    with pytest.raises(ValueError, match=problem):
        load(tmp_path)


def test_line_ends_of_a_checkout_do_not_count(tmp_path: Path) -> None:
    """A clone on another system has the same checksums."""
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    (tmp_path / "README.md").write_text("not a migration")

    assert load(tmp_path) == [Migration(1, "a", "SELECT 1;\nSELECT 2;\n")]


UNINDEXED = """
    SELECT c.conrelid::regclass::text AS child, c.conname AS name
    FROM pg_constraint c
    WHERE c.contype = 'f' AND NOT EXISTS (
        SELECT 1 FROM pg_index i
        WHERE i.indrelid = c.conrelid
          AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(c.conkey)] @> c.conkey
          AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = (
              SELECT format('(%I IS NOT NULL)', a.attname) FROM pg_attribute a
              WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
          ))
    )
"""


async def test_every_foreign_key_has_an_index(database_url: str) -> None:
    """Else each delete of a parent reads the whole child table. One without is found: the test's own."""
    connection = await asyncpg.connect(database_url)
    before: list[Any] = await connection.fetch(UNINDEXED)
    async with connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE parents (id int PRIMARY KEY)")
        await connection.execute("CREATE TEMPORARY TABLE children (of int REFERENCES parents)")
        seen: list[Any] = await connection.fetch(UNINDEXED)
    await connection.close()

    assert [tuple(row) for row in before] == []
    assert [row["child"] for row in seen] == ["children"]
