"""The list and the log of void tokens on a real Valkey."""

import asyncio
import os
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from accounts.model import Identity, Revocation, RevokeReason, Role
from base.errors import Unavailable
from base.ids import uuid7
from base.policy import Gender
from minuet.embedded import EmbeddedValkey
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.revocations import FAMILIES_A_USER, RESTORED_AT_ONCE, START, RedisRevocations

NOW = 1_793_016_000_123
KEYS = Keys("test:")


def new_id() -> str:
    return uuid7(NOW, os.urandom(10))


def an_identity(user_id: str | None = None, issued_at_ms: int = NOW) -> Identity:
    return Identity(
        user_id or new_id(), Role.USER, Gender.FEMALE, new_id(), issued_at_ms, issued_at_ms + 900_000
    )


@pytest.fixture
def revocations(redis: Redis) -> RedisRevocations:
    return RedisRevocations(redis, KEYS)


async def test_a_token_nobody_took_back_counts(revocations: RedisRevocations) -> None:
    """Also for a user of whom Redis knows nothing."""
    assert not await revocations.is_revoked(an_identity())


async def test_tokens_from_before_a_sign_out_everywhere_are_void(revocations: RedisRevocations) -> None:
    """To the millisecond, and for that user only."""
    old = an_identity()
    await revocations.revoke_user(old.user_id, NOW + 1, RevokeReason.LOGOUT_ALL)

    assert await revocations.is_revoked(old)
    assert not await revocations.is_revoked(an_identity(old.user_id, NOW + 1))
    assert not await revocations.is_revoked(an_identity())


async def test_what_is_void_of_somebody_who_never_comes_back_does_not_stay_for_good(
    revocations: RedisRevocations, redis: Redis
) -> None:
    """Long after the last such token has run out the slot goes; one that is about to go stays as long again."""
    gone, phone, here = new_id(), an_identity(), an_identity()
    await redis.hset(KEYS.user(here.user_id), "activity", "idle")
    await redis.expire(KEYS.user(here.user_id), 60)
    await revocations.revoke_user(gone, NOW, RevokeReason.BAN)
    for identity in (phone, here):
        await revocations.revoke_family(identity.user_id, identity.family_id, NOW, RevokeReason.LOGOUT)
    days = [round(await redis.ttl(KEYS.user(user)) / 86_400) for user in (gone, phone.user_id, here.user_id)]

    assert days == [90, 90, 90]


async def test_a_sign_out_is_never_taken_back_by_an_older_one(revocations: RedisRevocations) -> None:
    """Whatever order two of them arrive in."""
    old = an_identity(issued_at_ms=NOW + 5)
    await revocations.revoke_user(old.user_id, NOW + 10, RevokeReason.BAN)
    await revocations.revoke_user(old.user_id, NOW, RevokeReason.LOGOUT_ALL)

    assert await revocations.is_revoked(old)


async def test_one_sign_in_is_ended_alone(revocations: RedisRevocations) -> None:
    """Other devices of the user stay."""
    here = an_identity()
    there = an_identity(here.user_id)
    await revocations.revoke_family(here.user_id, here.family_id, NOW, RevokeReason.LOGOUT)

    assert await revocations.is_revoked(here)
    assert not await revocations.is_revoked(there)


async def test_an_ended_sign_in_is_forgotten_once_its_tokens_ran_out(redis: Redis) -> None:
    """The next sign-out of that user sweeps it, so the hash does not grow; other fields stay."""
    short = RedisRevocations(redis, KEYS, access_s=-5)  # with the skew: kept for 0 ms
    user_id = new_id()
    await redis.hset(KEYS.user(user_id), mapping={"activity": "queued:x:y", "device": "d"})
    await short.revoke_family(user_id, "first", NOW, RevokeReason.LOGOUT)
    await asyncio.sleep(0.005)

    await RedisRevocations(redis, KEYS).revoke_family(user_id, "second", NOW, RevokeReason.LOGOUT)

    assert set(await redis.hkeys(KEYS.user(user_id))) == {b"activity", b"device", b"revoked:second"}


async def test_somebody_who_signs_in_and_out_without_end_is_signed_out_everywhere(
    redis: Redis, revocations: RedisRevocations
) -> None:
    """Bounded: beyond 64 sign-outs in a quarter of an hour the user is void as a whole until now."""
    user_id = new_id()
    for number in range(FAMILIES_A_USER + 3):
        await revocations.revoke_family(user_id, f"family-{number}", NOW, RevokeReason.LOGOUT)

    assert await redis.hlen(KEYS.user(user_id)) == FAMILIES_A_USER + 1
    assert await revocations.is_revoked(an_identity(user_id))
    _, entries = await revocations.read_since(START)
    assert entries[-1] == Revocation(user_id, None, NOW, "logout")


async def test_every_node_reads_each_entry_once_from_its_own_cursor(revocations: RedisRevocations) -> None:
    """In order; a node that starts begins at the end."""
    user_id, family_id = new_id(), new_id()
    assert await revocations.tail() == START
    await revocations.revoke_user(user_id, NOW, RevokeReason.BAN)
    late = await revocations.tail()
    await revocations.revoke_family(user_id, family_id, NOW + 1, RevokeReason.LOGOUT)

    cursor, first = await revocations.read_since(START, count=1)
    cursor, second = await revocations.read_since(cursor, count=1)
    end, nothing = await revocations.read_since(cursor)

    assert first == [Revocation(user_id, None, NOW, "ban")]
    assert second == [Revocation(user_id, family_id, NOW + 1, "logout")]
    assert (end, nothing) == (cursor, [])
    assert (await revocations.read_since(late))[1] == second


async def test_whoever_reads_the_log_finds_the_list_written(revocations: RedisRevocations) -> None:
    """A hub that hears of a sign-out and looks must not find the token still good."""
    identity = an_identity()

    async def follow() -> bool:
        cursor = START
        while True:
            cursor, entries = await revocations.read_since(cursor)
            if entries:
                return await revocations.is_revoked(replace(identity, family_id=str(entries[0].family_id)))

    following = asyncio.create_task(follow())
    await revocations.revoke_family(identity.user_id, identity.family_id, NOW, RevokeReason.LOGOUT)

    assert await asyncio.wait_for(following, 30)


async def test_without_redis_nobody_knows(private_valkey: EmbeddedValkey) -> None:
    """Every question and every word is refused as unavailable."""
    client = connect(private_valkey.url, timeout_s=0.5)
    away = RedisRevocations(client, KEYS)
    await private_valkey.kill()

    for attempt in (
        away.is_revoked(an_identity()),
        away.revoke_user("u", NOW, RevokeReason.BAN),
        away.revoke_family("u", "f", NOW, RevokeReason.LOGOUT),
        away.read_since(START),
        away.tail(),
    ):
        with pytest.raises(Unavailable):
            await attempt
    await client.aclose()


async def test_what_the_store_has_lost_is_void_again(revocations: RedisRevocations, redis: Redis) -> None:
    """As it was before, never less than it is now, and nothing stands in the log for it."""
    old, other, newer = an_identity(), an_identity(), an_identity(issued_at_ms=NOW + 5)
    await revocations.revoke_user(newer.user_id, NOW + 10, RevokeReason.BAN)
    cursor = await revocations.tail()
    entries = [
        Revocation(old.user_id, None, NOW + 1, "logout_all"),
        Revocation(other.user_id, other.family_id, NOW, "logout"),
        Revocation(newer.user_id, None, NOW, "logout_all"),
    ]
    for _ in range(2):
        await revocations.restore(entries)

    assert await revocations.is_revoked(old)
    assert not await revocations.is_revoked(replace(old, issued_at_ms=NOW + 1))
    assert await revocations.is_revoked(other)
    assert not await revocations.is_revoked(replace(other, family_id=new_id()))
    assert await revocations.is_revoked(newer)
    assert await revocations.read_since(cursor) == (cursor, [])


async def test_many_are_put_back_in_parts(revocations: RedisRevocations) -> None:
    """More than are asked for at once."""
    identities = [an_identity() for _ in range(RESTORED_AT_ONCE + 3)]
    await revocations.restore([Revocation(each.user_id, None, NOW + 1, "ban") for each in identities])

    assert all(await asyncio.gather(*map(revocations.is_revoked, identities)))
