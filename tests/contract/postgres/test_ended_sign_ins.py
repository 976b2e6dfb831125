"""Sign-ins on a real PostgreSQL: listed while they last, ended one by one or all, and purged."""

import asyncio
from typing import Any

import pytest

from accounts.model import Device, NewFamily, Revocation, RevokeReason, User
from accounts.ports import AccountStore, NotRotated, Rotated
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.times import moment
from tests.contract.postgres.stored_people import DAY, HASH, NOW, a_family, a_token, a_user


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
