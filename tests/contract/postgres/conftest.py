"""A pool on a database of the test's own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.model import NewFamily, User
from accounts.ports import AccountStore
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.pool import open_pool
from tests.contract.postgres.stored_people import HASH, a_family, a_user


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def store(pool: Any) -> AccountStore:
    return PostgresAccounts(pool)


@pytest.fixture
async def user(store: AccountStore) -> User:
    ada = a_user()
    assert await store.register(ada, HASH, a_family(ada.id))
    return ada


@pytest.fixture
async def family(store: AccountStore, user: User) -> NewFamily:
    started = a_family(user.id)
    await store.start_family(started)
    return started
