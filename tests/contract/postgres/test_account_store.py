"""Accounts on a real PostgreSQL, against `accounts.ports.AccountStore`: who is stored, found, changed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from accounts.model import ProfileChange, Role, User
from accounts.ports import AccountStore
from tests.contract.postgres.stored_people import HASH, NOW, a_family, a_user, new_id


async def test_a_registered_user_comes_back_as_stored(store: AccountStore, user: User) -> None:
    """Every field, times to the millisecond."""
    assert await store.user(user.id) == user


async def test_a_user_of_few_words_comes_back_as_stored(store: AccountStore) -> None:
    """What may be left out stays empty."""
    terse = a_user(languages=(), region=None, locale=None, terms_version=None, email="x@example.org")
    await store.register(terse, HASH, a_family(terse.id))

    assert await store.user(terse.id) == terse


async def test_nobody_is_found_under_an_unknown_id(store: AccountStore) -> None:
    """None, not an error."""
    assert await store.user(new_id()) is None
    assert await store.credentials("nobody@example.org") is None
    assert await store.change_profile(new_id(), ProfileChange("A", (), None, None), NOW) is None
    assert await store.set_role("nobody@example.org", Role.ADMIN, NOW) is None


@pytest.mark.parametrize("written", ["Ada@example.org", "ada@example.org", "ADA@EXAMPLE.ORG"])
async def test_an_address_belongs_to_one_account_in_any_case(
    store: AccountStore, user: User, written: str
) -> None:
    """Nothing of the second registration is stored, and login finds the first by any writing."""
    second = a_user(email=written)

    assert not await store.register(second, HASH, a_family(second.id))
    assert await store.user(second.id) is None
    found = await store.credentials(written)
    assert found is not None
    assert found.user == user
    assert found.password_hash == HASH


async def test_of_many_registrations_of_one_address_at_once_one_succeeds(
    store: AccountStore, pool: Any
) -> None:
    """The index decides, not a look before."""
    users = [a_user() for _ in range(10)]

    stored = await asyncio.gather(*(store.register(one, HASH, a_family(one.id)) for one in users))

    assert stored.count(True) == 1
    assert await pool.fetchval("SELECT count(*) FROM accounts.users") == 1
    assert await pool.fetchval("SELECT count(*) FROM accounts.token_families") == 1


async def test_the_address_of_a_deleted_account_is_free(store: AccountStore, user: User, pool: Any) -> None:
    """And the deleted one is nowhere to be found."""
    await pool.execute("UPDATE accounts.users SET deleted_at = now()")
    again = a_user()

    assert await store.user(user.id) is None
    assert await store.credentials(user.email) is None
    assert await store.register(again, HASH, a_family(again.id))


async def test_a_password_hash_is_replaced_only_where_it_is_still_the_old_one(
    store: AccountStore, user: User
) -> None:
    """A rehash at login must not undo a password change of the same moment."""
    await store.set_password_hash(user.id, "another", "lost")
    kept = await store.credentials(user.email)
    await store.set_password_hash(user.id, HASH, "new")
    replaced = await store.credentials(user.email)

    assert kept is not None
    assert kept.password_hash == HASH
    assert replaced is not None
    assert replaced.password_hash == "new"


async def test_a_profile_change_replaces_what_may_be_changed(store: AccountStore, user: User) -> None:
    """Also with nothing; all else stays."""
    changed = await store.change_profile(user.id, ProfileChange("Augusta", (), None, "pt"), NOW + 5)

    assert changed == replace(
        user, first_name="Augusta", languages=(), region=None, locale="pt", updated_at=NOW + 5
    )
    assert await store.user(user.id) == changed


async def test_a_role_is_given_by_address(store: AccountStore, user: User) -> None:
    """In whatever case it is written."""
    promoted = await store.set_role("ADA@example.org", Role.MODERATOR, NOW + 5)

    assert promoted == replace(user, role=Role.MODERATOR, updated_at=NOW + 5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda user: replace(user, first_name=""),
        lambda user: replace(user, first_name="x" * 41),
        lambda user: replace(user, languages=("en",) * 9),
        lambda user: replace(user, email="x"),
    ],
)
async def test_the_database_has_the_last_word_on_form(
    store: AccountStore, spoil: Callable[[User], User]
) -> None:
    """What slipped past the rules is a fault of ours, and stored nowhere."""
    wrong = spoil(a_user())

    with pytest.raises(Exception, match="violates check constraint"):
        await store.register(wrong, HASH, a_family(wrong.id))
    assert await store.user(wrong.id) is None
