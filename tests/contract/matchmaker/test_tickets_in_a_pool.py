"""How tickets come into a pool, are put again, and leave it. Contract of `matchmaker.ports.QueueStore`."""

import asyncio
import time

import msgspec
import pytest

from base.errors import Unavailable
from base.ids import CallId, NodeId, TicketId
from base.policy import Gender
from matchmaker.ports import Arrived, Departed, Left, Put, TicketState
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.contract.matchmaker.friends_pool import (
    ANN,
    BOB,
    EVE,
    POOL,
    TTL_MS,
    claimed,
    heard,
    match_of,
    owner,
    standing,
)
from tests.unit.matchmaker.people import ticket_of


async def test_a_ticket_is_stored_whole_and_told(queues: RedisQueues) -> None:
    """Whoever scans or listens gets all of it."""
    assert await queues.put(ANN) is Put.STORED
    (stored,) = await queues.scan(POOL)
    (event,) = await heard(queues)

    assert (stored.ticket, stored.state) == (ANN, TicketState.WAITING)
    assert isinstance(event, Arrived)
    assert event.ticket == ANN
    assert abs(event.at_ms - time.time_ns() // 1_000_000) < 2_000


async def test_putting_the_same_again_tells_nobody(queues: RedisQueues) -> None:
    """Hubs look after their tickets all the time; that must not wake the owner."""
    await queues.put(ANN)

    assert await queues.put(ANN) is Put.UNCHANGED
    assert len(await heard(queues)) == 1


async def test_putting_a_changed_ticket_replaces_it(queues: RedisQueues) -> None:
    """It moved to another node; seniority is what the ticket says."""
    await queues.put(ANN)
    moved = msgspec.structs.replace(ANN, node_id=NodeId("node-2"))

    assert await queues.put(moved) is Put.UPDATED
    assert [stored.ticket for stored in await queues.scan(POOL)] == [moved]
    assert len(await heard(queues)) == 2


async def test_a_ticket_that_must_exist_is_not_created(queues: RedisQueues) -> None:
    """A resumed session does not bring back what was dropped meanwhile."""
    assert await queues.put(ANN, create=False) is Put.ABSENT
    assert await standing(queues, ANN) == [TicketState.ABSENT]


async def test_a_join_that_was_held_up_is_refused(queues: RedisQueues) -> None:
    """Five seconds after its issue its client may have left; what is stored already may still be put."""
    old = time.time_ns() // 1_000_000 - 6_000

    assert await queues.put(ANN, issued_at=old) is Put.LATE
    assert await standing(queues, ANN) == [TicketState.ABSENT]
    assert await queues.put(ANN, issued_at=old + 5_000) is Put.STORED
    assert await queues.put(ANN, issued_at=old) is Put.UNCHANGED


async def test_a_ticket_leaves_once(queues: RedisQueues) -> None:
    """The second time it is not there."""
    await queues.put(ANN)

    assert await queues.leave(POOL, ANN.ticket_id) is Left.LEFT
    assert await queues.leave(POOL, ANN.ticket_id) is Left.ABSENT
    assert (await heard(queues))[1:] == [Departed(ANN.ticket_id)]


async def test_depths_count_tickets_where_they_stand(queues: RedisQueues) -> None:
    """Every change of state moves one from here to there."""
    await claimed(queues)
    await queues.put(EVE)
    await queues.pause(POOL, [EVE.ticket_id])
    depths = await queues.depths(POOL)

    assert depths[Gender.FEMALE] == {TicketState.WAITING: 0, TicketState.PAUSED: 0, TicketState.MATCHED: 1}
    assert depths[Gender.MALE] == {TicketState.WAITING: 0, TicketState.PAUSED: 0, TicketState.MATCHED: 1}
    assert depths[Gender.OTHER] == {TicketState.WAITING: 0, TicketState.PAUSED: 1, TicketState.MATCHED: 0}


async def test_depths_are_nought_when_all_have_gone(queues: RedisQueues) -> None:
    """However they went: left, dropped, settled, resolved."""
    match = await claimed(queues)
    await queues.resolve(match.ref("a"), returns=True)
    await queues.resolve(match.ref("b"), returns=False)
    await queues.pause(POOL, [ANN.ticket_id])
    await queues.put(ANN)
    await queues.put(BOB)
    token = (await owner(queues)).token
    await queues.claim(POOL, token, [match_of(ANN, BOB, "call-2")])
    await queues.settle(POOL, CallId("call-2"))
    await queues.put(EVE)
    await queues.leave(POOL, EVE.ticket_id)
    await queues.put(EVE)
    await queues.pause(POOL, [EVE.ticket_id])
    await queues.drop_paused(POOL, token, [EVE.ticket_id], paused_s=0)
    depths = await queues.depths(POOL)

    nought = {TicketState.WAITING: 0, TicketState.PAUSED: 0, TicketState.MATCHED: 0}
    assert depths == dict.fromkeys(Gender, nought)
    assert await queues.scan(POOL) == []


async def test_pools_do_not_touch_each_other(queues: RedisQueues) -> None:
    """Same ids, another pool."""
    await queues.put(ANN)
    await queues.put(msgspec.structs.replace(ANN, intent="dating"))
    await queues.leave("dating", ANN.ticket_id)

    assert await standing(queues, ANN) == [TicketState.WAITING]
    assert (await queues.take_lease("dating", "mine", ttl_ms=TTL_MS)).number == 2


async def test_a_pool_is_unavailable_while_its_server_is_away(keys: Keys) -> None:
    """A refused connection is said to be `unavailable`, soon."""
    away = connect("redis://127.0.0.1:1/0", timeout_s=0.3)
    queues = RedisQueues(away, keys)
    for attempt in (
        queues.put(ANN),
        queues.leave(POOL, ANN.ticket_id),
        queues.state(POOL, ANN.ticket_id),
        queues.scan(POOL),
        queues.matches(POOL),
        queues.events(POOL, "0-0", limit=1, block_ms=10),
        queues.depths(POOL),
        queues.take_lease(POOL, "nonce", ttl_ms=1),
        queues.claim(POOL, "token", [match_of(ANN, BOB)]),
    ):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(attempt, 30)
    await away.aclose()


async def test_where_many_stand_is_told_at_once(queues: RedisQueues) -> None:
    """In the order in which they were asked for."""
    await claimed(queues)
    await queues.put(EVE)
    await queues.put(ticket_of("away"), paused=True)
    asked = [TicketId(f"ticket-{name}") for name in ("eve", "ann", "nobody", "bob", "away")]

    assert await queues.states(POOL, asked) == [
        TicketState.WAITING,
        TicketState.MATCHED,
        TicketState.ABSENT,
        TicketState.MATCHED,
        TicketState.PAUSED,
    ]
    assert await queues.states(POOL, []) == []
