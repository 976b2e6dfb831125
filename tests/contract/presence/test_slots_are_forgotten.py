"""How long the store keeps what it knows of somebody: 90 days from when the last session began (docs/operations.md)."""

import pytest
from redis.asyncio import Redis

from base.ids import TicketId
from matchmaker.activity import Queued
from matchmaker.ports import Caller
from storage.redis.activities import RedisActivities
from storage.redis.keys import Keys
from storage.redis.presence import RedisSessions
from tests.contract.presence.session_rows import Make, register

KEPT_S = 90 * 86_400
A_MINUTE_S = 60


@pytest.mark.parametrize("begins", ["for the first time", "again", "once more after a loss"])
async def test_a_slot_is_kept_for_ninety_days_from_the_last_session(
    sessions: RedisSessions, redis: Redis, keys: Keys, registration: Make, begins: str
) -> None:
    """Whoever comes back in time is kept for as long again, in whichever way; nobody is kept for good."""
    phone = registration()
    if begins != "for the first time":
        known = await register(sessions, phone)
        await redis.expire(keys.user(phone.user_id), A_MINUTE_S)
    if begins == "once more after a loss":
        await redis.hdel(keys.user(phone.user_id), f"session:{phone.device_id}")
        await sessions.reassert(phone, known.generation)
    else:
        await register(sessions, phone)

    assert KEPT_S - A_MINUTE_S < await redis.ttl(keys.user(phone.user_id)) <= KEPT_S


async def test_a_slot_that_was_lost_and_is_queued_in_is_not_kept_for_good(
    redis: Redis, keys: Keys, registration: Make
) -> None:
    """What an older release does, which asks for no row: the script makes the slot, and has to say how long it stays."""
    phone = registration()
    activities = RedisActivities(redis, keys)
    joined = await activities.join(
        phone.user_id, Caller(phone.device_id), Queued("friends", TicketId("ticket-1"))
    )

    assert joined.taken
    assert KEPT_S - A_MINUTE_S < await redis.ttl(keys.user(phone.user_id)) <= KEPT_S
