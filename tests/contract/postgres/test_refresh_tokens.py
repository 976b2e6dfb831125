"""Refresh tokens on a real PostgreSQL: each is exchanged once, in time, by whom it was given to."""

import asyncio
import os
from typing import Any

from accounts.model import NewFamily, User
from accounts.ports import AccountStore, NotRotated, Rotated, RotationRefusal
from tests.contract.postgres.stored_people import NOW, a_family, a_token


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
