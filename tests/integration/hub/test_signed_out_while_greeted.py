"""A sign-out that comes while a session is being opened: nobody is greeted whose session is over."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from loadtests.swarm.client import Closed
from tests.fixtures.deployment import Deployment, Lasting, People
from tests.fixtures.waiting import until

WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND relation = 'chat.connections'::regclass
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture(scope="module")
def house(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve") as deployment:
        yield deployment


async def test_who_is_signed_out_before_the_greeting_is_not_let_in(house: Deployment, people: People) -> None:
    """What she has not read is asked for while the database is slow; meanwhile she signs out everywhere."""
    account = await people.account(house.url)
    her = people.client(house.url)
    database = await asyncpg.connect(house.environment["MINUET_DATABASE_URL"])
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    async with database.transaction():
        await database.execute("LOCK TABLE chat.connections IN ACCESS EXCLUSIVE MODE")
        starting = asyncio.create_task(her.start(account["access_token"]))
        await until(lambda: database.fetchval(WAITING))
        async with people.http.post(f"{house.url}/api/v1/auth/logout-all", headers=headers) as response:
            assert response.status == 200
        with pytest.raises(Closed) as closed:
            await starting
            await her.wait_until(lambda _message: False)
    await database.close()

    assert closed.value.code == 4506
    assert not her.ready
