"""People and sign-ins in the account store."""

from typing import Any

import pytest

from accounts.model import NewFamily, User
from accounts.ports import AccountStore
from storage.postgres.accounts import PostgresAccounts
from tests.contract.postgres.stored_people import HASH, a_family, a_user


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
