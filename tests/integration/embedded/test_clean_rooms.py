"""The fixtures that all other tests stand on: each test finds its rooms empty, whatever the one before left."""

import asyncpg
import pytest
import redis.asyncio


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_empty_redis_database(redis_url: str, turn: int) -> None:
    """What the first turn writes the second one does not see, and its number is another."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        found = await client.dbsize()
        await client.set("left", "behind")

        assert found == 0


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_migrated_database_of_its_own(database_url: str, turn: int) -> None:
    """A clone of the template: today's schema, nobody's rows."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetchval(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        mine = await connection.fetchval("SELECT to_regclass('left_behind')")
        await connection.execute("CREATE TABLE left_behind ()")
    finally:
        await connection.close()

    assert tables > 0
    assert mine is None


async def test_an_empty_database_has_no_schema_yet(empty_database_url: str) -> None:
    """For the migrations' own tests."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        schemas = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
    finally:
        await connection.close()

    assert [row["nspname"] for row in schemas] == ["public"]
