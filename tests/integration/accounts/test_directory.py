"""Who a user is to matching and calls, on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from accounts.directory import Directory
from accounts.model import Person, Role, User
from accounts.service import Banned, NoSuchAccount
from base.clock import ManualClock
from base.policy import Gender
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.pool import open_pool
from tests.contract.postgres.stored_people import HASH, a_family, a_user

DAY_BEFORE_BIRTHDAY = 1_778_975_999_999  # 16 May 2026, one millisecond before midnight UTC


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(DAY_BEFORE_BIRTHDAY)


@pytest.fixture
def directory(pool: Any, clock: ManualClock) -> Directory:
    return Directory(PostgresAccounts(pool), clock.wall_ms)


@pytest.fixture
async def ada(pool: Any, clock: ManualClock) -> User:
    now_ms = clock.wall_ms()
    user = a_user(birth_date=date(1990, 5, 17), region="eu", created_at=now_ms, updated_at=now_ms)
    await PostgresAccounts(pool).register(user, HASH, a_family(user.id))
    return user


async def test_a_person_is_what_a_stranger_may_be_matched_by(directory: Directory, ada: User) -> None:
    """No address, no birth date."""
    assert await directory.person(ada.id) == Person(
        ada.id, "Ada", Gender.FEMALE, 35, ("en", "pt"), "eu", False, Role.USER
    )


async def test_an_age_is_as_of_today(directory: Directory, ada: User, clock: ManualClock) -> None:
    """It changes at midnight UTC of the birthday."""
    before = (await directory.person(ada.id)).age
    clock.advance(0.001)

    assert (before, (await directory.person(ada.id)).age) == (35, 36)


async def test_a_verified_address_is_a_mark(directory: Directory, ada: User, pool: Any) -> None:
    """The only one there is so far."""
    await pool.execute("UPDATE accounts.users SET email_verified_at = now()")

    assert (await directory.person(ada.id)).verified


async def test_who_is_banned_or_gone_takes_no_part(directory: Directory, ada: User, pool: Any) -> None:
    """Told apart: the one is told, the other signs up anew."""
    await pool.execute("UPDATE accounts.users SET banned_at = now()")
    with pytest.raises(Banned):
        await directory.person(ada.id)
    await pool.execute("UPDATE accounts.users SET deleted_at = now()")
    with pytest.raises(NoSuchAccount):
        await directory.person(ada.id)
