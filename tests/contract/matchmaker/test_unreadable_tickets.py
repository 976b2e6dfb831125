"""A ticket that nobody here can read, as one of another release, is that one's loss and nobody else's."""

from redis.asyncio import Redis

from base.ids import TicketId
from matchmaker.ports import TicketState
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.unit.matchmaker.people import ticket_of

POOL = "friends"


async def test_who_is_dropped_beside_it_is_told_all_the_same(
    queues: RedisQueues, redis: Redis, keys: Keys
) -> None:
    """They are gone from the pool by then: whoever is not told of them never frees their people."""
    names = "ann", "bea", "cleo"
    for name in names:
        await queues.put(ticket_of(name), paused=True)
    stored = await redis.hget(keys.tickets(POOL), "ticket-bea")
    await redis.hset(keys.tickets(POOL), "ticket-bea", stored.rsplit(b"|", 1)[0] + b"|\xc1")
    lease = await queues.take_lease(POOL, "owner", ttl_ms=10_000)
    ids = [TicketId(f"ticket-{name}") for name in names]
    dropped = await queues.drop_paused(POOL, lease.token, ids, paused_s=0)

    assert [ticket.user_id for ticket in dropped] == ["ann", "cleo"]
    assert await queues.states(POOL, ids) == [TicketState.ABSENT] * 3
