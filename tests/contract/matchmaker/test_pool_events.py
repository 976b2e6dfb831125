"""What a pool tells of its tickets: in order, at once, until the owner has read it."""

import asyncio
import time

from redis.asyncio import Redis

from base.ids import TicketId
from matchmaker.ports import Arrived, Departed
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.contract.matchmaker.friends_pool import ANN, BOB, POOL, TTL_MS, heard, match_of, owner
from tests.unit.matchmaker.people import ticket_of


async def test_events_come_in_order_and_numbered(queues: RedisQueues) -> None:
    """A reader that keeps its cursor misses none; numbers have no gap."""
    await queues.put(ANN)
    first = await queues.events(POOL, "0-0", limit=100, block_ms=10)
    await queues.put(BOB)
    await queues.leave(POOL, ANN.ticket_id)
    second = await queues.events(POOL, first.cursor, limit=100, block_ms=10)
    third = await queues.events(POOL, second.cursor, limit=100, block_ms=10)

    assert [number for number, _ in (*first.events, *second.events)] == [1, 2, 3]
    assert [type(event) for _, event in second.events] == [Arrived, Departed]
    assert (third.events, third.cursor) == ((), second.cursor)


async def test_a_waiting_reader_hears_at_once(queues: RedisQueues) -> None:
    """Long before its wait is over."""
    reading = asyncio.create_task(queues.events(POOL, "0-0", limit=100, block_ms=60_000))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await queues.put(ANN)
    batch = await reading

    assert len(batch.events) == 1
    assert time.monotonic() - began < 30


async def test_the_owner_trims_what_it_has_read(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """Nobody else does; what is not read yet stays."""
    token = (await owner(queues)).token
    for number in range(300):
        await queues.put(ticket_of(f"user-{number}"))
    batch = await queues.events(POOL, "0-0", limit=250, block_ms=10)
    await queues.trim(POOL, "1-other", batch.cursor)
    untouched = await redis.xlen(keys.arrivals(POOL))
    await queues.trim(POOL, token, batch.cursor)
    rest = await queues.events(POOL, batch.cursor, limit=100, block_ms=10)

    assert untouched == 300
    assert 51 <= await redis.xlen(keys.arrivals(POOL)) < 200
    assert [number for number, _ in rest.events] == list(range(251, 301))


async def test_a_ticket_nobody_can_read_does_not_hide_the_others(
    queues: RedisQueues, redis: Redis, keys: Keys
) -> None:
    """It is logged and passed over, in the scan and as an event."""
    broken = b"w|female||\x93nonsense"
    await redis.hset(keys.tickets(POOL), "ticket-broken", broken)
    await redis.xadd(keys.arrivals(POOL), {"n": 1, "e": "+", "t": "ticket-broken", "v": broken})
    await queues.put(ANN)

    assert [stored.ticket for stored in await queues.scan(POOL)] == [ANN]
    assert await heard(queues) == [Departed(TicketId("ticket-broken")), *(await heard(queues))[1:]]
    assert len(await heard(queues)) == 2


async def test_a_lease_tells_where_the_events_end(queues: RedisQueues) -> None:
    """Reading on from there finds exactly what comes after."""
    empty = await owner(queues)
    await queues.put(ANN)
    full = await owner(queues)
    await queues.put(BOB)
    batch = await queues.events(POOL, full.cursor, limit=10, block_ms=10)

    assert (empty.cursor, empty.number, full.number) == ("0-0", 0, 1)
    assert [number for number, _ in batch.events] == [2]


async def test_a_claim_says_after_which_event_it_came(queues: RedisQueues) -> None:
    """So that a reader can tell what it hears late from what is new."""
    await queues.put(ANN)
    await queues.put(BOB)
    token = (await owner(queues)).token

    assert (await queues.claim(POOL, token, [match_of(ANN, BOB)])).number == 2


async def test_whoever_owns_nothing_learns_where_the_events_end(queues: RedisQueues) -> None:
    """Without a change of who does."""
    lease = await owner(queues)
    await queues.put(ANN)
    end = await queues.keep_lease(POOL, "", ttl_ms=1)
    await queues.put(BOB)
    (number, event), *_ = (await queues.events(POOL, end.cursor, limit=10, block_ms=10)).events

    assert end.token == ""
    assert end.number == lease.number + 1
    assert number == end.number + 1
    assert isinstance(event, Arrived)
    assert event.ticket == BOB
    assert (await queues.keep_lease(POOL, lease.token, ttl_ms=TTL_MS)).token == lease.token
