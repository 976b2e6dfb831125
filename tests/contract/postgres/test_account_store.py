"""The account store on a real PostgreSQL, against `accounts.ports.AccountStore`."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from accounts.model import Device, NewFamily, NewToken, ProfileChange, Revocation, RevokeReason, Role, User
from accounts.ports import AccountStore, NotRotated, Rotated, RotationRefusal
from base.ids import uuid7
from base.policy import Gender
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.times import moment

NOW = 1_793_016_000_123
DAY = 86_400_000
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"


def new_id() -> str:
    return uuid7(NOW, os.urandom(10))


def a_user(**changes: object) -> User:
    user = User(
        id=new_id(),
        email="Ada@example.org",
        email_verified_at=None,
        role=Role.USER,
        first_name="Ada",
        gender=Gender.FEMALE,
        birth_date=date(1990, 5, 17),
        languages=("en", "pt"),
        region="eu-west",
        locale="en-GB",
        terms_version="2026-10",
        privacy_version=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(user, **changes)  # type: ignore[arg-type]


def a_token(now_ms: int = NOW, lives_ms: int = 30 * DAY) -> NewToken:
    return NewToken(token_hash=os.urandom(32), issued_at=now_ms, expires_at=now_ms + lives_ms)


def a_family(user_id: str, **changes: object) -> NewFamily:
    family = NewFamily(id=new_id(), user_id=user_id, device=Device("phone-1", "Phone"), token=a_token())
    return replace(family, **changes)  # type: ignore[arg-type]


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


async def test_a_token_is_exchanged_for_its_successor(
    store: AccountStore, user: User, family: NewFamily
) -> None:
    """And the successor for the next one, in the same family."""
    second, third = a_token(NOW + 1), a_token(NOW + 2)

    assert await store.rotate(family.token.token_hash, second, NOW + 1) == Rotated(user, family.id)
    assert await store.rotate(second.token_hash, third, NOW + 2) == Rotated(user, family.id)


async def test_a_token_nobody_issued_is_unknown(store: AccountStore) -> None:
    """Whose it would be is not known either."""
    outcome = await store.rotate(os.urandom(32), a_token(), NOW)

    assert outcome == NotRotated(RotationRefusal.UNKNOWN)


async def test_a_token_is_good_until_the_moment_it_expires(
    store: AccountStore, user: User, family: NewFamily
) -> None:
    """An expired one is refused without harm to its family."""
    ends_at = family.token.expires_at

    outcome = await store.rotate(family.token.token_hash, a_token(ends_at), ends_at)
    assert outcome == NotRotated(RotationRefusal.EXPIRED, user.id, family.id)
    assert isinstance(await store.rotate(family.token.token_hash, a_token(ends_at - 1), ends_at - 1), Rotated)


async def test_a_used_token_revokes_its_family_and_no_other(
    store: AccountStore, user: User, family: NewFamily
) -> None:
    """Either the thief or the owner has the newer one: both are stopped."""
    other = a_family(user.id)
    await store.start_family(other)
    second = a_token(NOW + 1)
    await store.rotate(family.token.token_hash, second, NOW + 1)

    reused = await store.rotate(family.token.token_hash, a_token(), NOW + 2)

    assert reused == NotRotated(RotationRefusal.REUSED, user.id, family.id)
    assert await store.rotate(second.token_hash, a_token(), NOW + 3) == NotRotated(
        RotationRefusal.REVOKED, user.id, family.id
    )
    assert isinstance(await store.rotate(other.token.token_hash, a_token(), NOW + 3), Rotated)


async def test_of_fifty_exchanges_of_one_token_at_once_one_wins_and_the_family_ends(
    store: AccountStore, user: User, family: NewFamily, pool: Any
) -> None:
    """However they interleave: one successor, which is of no use any more."""
    successors = [a_token(NOW + 1) for _ in range(50)]

    outcomes = await asyncio.gather(
        *(store.rotate(family.token.token_hash, successor, NOW + 1) for successor in successors)
    )

    won = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Rotated)]
    refusals = [outcome.reason for outcome in outcomes if isinstance(outcome, NotRotated)]
    assert len(won) == 1
    assert refusals.count(RotationRefusal.REUSED) == 1
    assert refusals.count(RotationRefusal.REVOKED) == 48
    stored = await pool.fetch(
        "SELECT token_hash FROM accounts.refresh_tokens WHERE family_id = $1", family.id
    )
    assert {row["token_hash"] for row in stored} == {
        family.token.token_hash,
        successors[won[0]].token_hash,
    }
    late = await store.rotate(successors[won[0]].token_hash, a_token(), NOW + 2)
    assert late == NotRotated(RotationRefusal.REVOKED, user.id, family.id)


async def test_the_tokens_of_a_banned_user_are_refused(
    store: AccountStore, user: User, family: NewFamily, pool: Any
) -> None:
    """Told apart, so that the client can say why. The token stays unused, for the day the ban ends."""
    await pool.execute("UPDATE accounts.users SET banned_at = now()")
    outcome = await store.rotate(family.token.token_hash, a_token(), NOW)
    await pool.execute("UPDATE accounts.users SET banned_at = NULL")

    assert outcome == NotRotated(RotationRefusal.BANNED, user.id, family.id)
    assert isinstance(await store.rotate(family.token.token_hash, a_token(), NOW), Rotated)


async def test_the_tokens_of_a_deleted_user_are_unknown(
    store: AccountStore, family: NewFamily, pool: Any
) -> None:
    """Nobody is told that there was an account."""
    await pool.execute("UPDATE accounts.users SET deleted_at = now()")

    assert await store.rotate(family.token.token_hash, a_token(), NOW) == NotRotated(RotationRefusal.UNKNOWN)


async def test_a_revoked_family_stays_revoked_for_its_first_reason(
    store: AccountStore, user: User, family: NewFamily, pool: Any
) -> None:
    """Signing out twice is signing out once."""
    await store.revoke_family(family.id, RevokeReason.LOGOUT, NOW + 1)
    await store.revoke_family(family.id, RevokeReason.BAN, NOW + 2)

    row = await pool.fetchrow(
        "SELECT revoke_reason, (extract(epoch FROM revoked_at) * 1000)::bigint AS at"
        " FROM accounts.token_families WHERE id = $1",
        family.id,
    )
    assert tuple(row) == ("logout", NOW + 1)
    assert isinstance(await store.rotate(family.token.token_hash, a_token(), NOW + 3), NotRotated)


async def test_revoking_all_ends_every_family_of_one_user(store: AccountStore, user: User) -> None:
    """Others stay signed in; the moment is kept, and never moves back."""
    eve = a_user(email="eve@example.org")
    hers = a_family(eve.id)
    await store.register(eve, HASH, hers)
    ours = [a_family(user.id) for _ in range(3)]
    for family in ours:
        await store.start_family(family)

    await store.revoke_all(user.id, RevokeReason.LOGOUT_ALL, NOW + 10)
    await store.revoke_all(user.id, RevokeReason.LOGOUT_ALL, NOW + 5)

    for family in ours:
        assert isinstance(await store.rotate(family.token.token_hash, a_token(), NOW + 11), NotRotated)
    assert isinstance(await store.rotate(hers.token.token_hash, a_token(), NOW + 11), Rotated)
    stored = await store.user(user.id)
    assert stored is not None
    assert stored.revoked_before == NOW + 10


@pytest.mark.parametrize("end", ["family", "all"])
async def test_no_refresh_slips_through_a_sign_out_of_the_same_moment(
    store: AccountStore, user: User, end: str
) -> None:
    """Whichever comes first, no token of the family works afterwards, and nobody waits for ever."""
    for _ in range(10):
        family = a_family(user.id)
        await store.start_family(family)
        successor = a_token(NOW + 1)

        async def sign_out(ending: NewFamily = family) -> None:
            if end == "family":
                await store.revoke_family(ending.id, RevokeReason.LOGOUT, NOW + 1)
            else:
                await store.revoke_all(ending.user_id, RevokeReason.LOGOUT_ALL, NOW + 1)

        await asyncio.gather(store.rotate(family.token.token_hash, successor, NOW + 1), sign_out())
        late = await store.rotate(successor.token_hash, a_token(), NOW + 2)

        assert isinstance(late, NotRotated)


async def test_sign_ins_are_listed_by_last_use(store: AccountStore, user: User, family: NewFamily) -> None:
    """Those that ended or ran out are not among them."""
    ended, ran_out = a_family(user.id), a_family(user.id, token=a_token(NOW - 40 * DAY))
    await store.start_family(ended)
    await store.start_family(ran_out)
    await store.revoke_family(ended.id, RevokeReason.LOGOUT, NOW)
    later = a_token(NOW + 50)
    await store.rotate(family.token.token_hash, later, NOW + 50)

    listed = await store.sign_ins(user.id, NOW + 60)

    assert [sign_in.last_used_at for sign_in in listed] == [NOW + 50, NOW]
    assert listed[0].id == family.id
    assert listed[0].device == Device("phone-1", "Phone")
    assert (listed[0].created_at, listed[0].expires_at) == (NOW, later.expires_at)


async def test_a_long_sign_in_goes_token_by_token_and_then_itself(
    store: AccountStore, user: User, pool: Any
) -> None:
    """Thousands of tokens hang on one that was used for a month: no share may be larger than it was asked for."""
    family = a_family(user.id, token=a_token(NOW - 40 * DAY))
    await store.start_family(family)
    for number in range(6):
        await pool.execute(
            """
            INSERT INTO accounts.refresh_tokens (token_hash, family_id, issued_at, expires_at)
            SELECT decode(repeat($2, 32), 'hex'), family_id, issued_at, expires_at
            FROM accounts.refresh_tokens WHERE family_id = $1 LIMIT 1
            """,
            family.id,
            f"0{number}",
        )
    shares, families = [], []
    while share := await store.purge_expired(NOW, 3):
        shares.append(share)
        families.append(
            await pool.fetchval("SELECT count(*) FROM accounts.token_families WHERE id = $1", family.id)
        )

    assert shares == [3, 3, 1, 1]
    assert families == [1, 1, 1, 0]


async def test_what_ran_out_is_purged_a_portion_at_a_time(
    store: AccountStore, user: User, family: NewFamily, pool: Any
) -> None:
    """What is still good stays."""
    for _ in range(3):
        await store.start_family(a_family(user.id, token=a_token(NOW - 40 * DAY)))

    assert await store.purge_expired(NOW, 2) > 0
    while await store.purge_expired(NOW, 2):
        pass

    assert await pool.fetchval("SELECT count(*) FROM accounts.token_families") == 2
    assert isinstance(await store.rotate(family.token.token_hash, a_token(), NOW), Rotated)


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


async def test_what_was_taken_back_lately_can_be_looked_up(
    store: AccountStore, user: User, pool: Any
) -> None:
    """One entry for all sign-ins of a user, or for one sign-in; nothing from before, and bans as bans."""
    accounts = PostgresAccounts(pool)
    bob, eve, old = (a_user(email=f"{name}@example.org") for name in ("bob", "eve", "old"))
    families = {}
    for each in (bob, eve, old):
        await store.register(each, HASH, a_family(each.id))
        families[each.id] = a_family(each.id)
        await store.start_family(families[each.id])
    await store.revoke_all(user.id, RevokeReason.LOGOUT_ALL, NOW + 5)
    await store.revoke_family(families[bob.id].id, RevokeReason.LOGOUT, NOW + 6)
    await pool.execute("UPDATE accounts.users SET banned_at = $2 WHERE id = $1", eve.id, moment(NOW + 7))
    await store.revoke_all(old.id, RevokeReason.LOGOUT_ALL, NOW - 5)
    found = await accounts.revoked_since(NOW)

    assert sorted(found, key=lambda entry: entry.before_ms) == [
        Revocation(user.id, None, NOW + 5, "logout_all"),
        Revocation(bob.id, families[bob.id].id, NOW + 6, "logout"),
        Revocation(eve.id, None, NOW + 7, "ban"),
    ]
    assert await accounts.revoked_since(NOW + 7) == []
