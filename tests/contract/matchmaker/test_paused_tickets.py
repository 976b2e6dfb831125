"""Tickets that keep their place while their user is away, and those that did so for too long."""

import asyncio

import msgspec

from base.ids import NodeId, TicketId
from base.policy import Gender
from matchmaker.ports import Departed, Paused, Put, TicketState
from storage.redis.queues import RedisQueues
from tests.contract.matchmaker.friends_pool import (
    ANN,
    BOB,
    EVE,
    POOL,
    claimed,
    heard,
    match_of,
    owner,
    standing,
)


async def test_a_ticket_can_be_put_back_without_waiting_for_a_moment(queues: RedisQueues) -> None:
    """Its user is away, or has no connection: it keeps its place, and nobody is matched with it."""
    assert await queues.put(ANN, paused=True) is Put.STORED
    (stored,) = await queues.scan(POOL)
    (event,) = await heard(queues)

    assert (stored.ticket, stored.state) == (ANN, TicketState.PAUSED)
    assert event == Paused(ANN.ticket_id, stored.paused_at)
    assert (await queues.depths(POOL))[ANN.side] == {
        TicketState.WAITING: 0,
        TicketState.PAUSED: 1,
        TicketState.MATCHED: 0,
    }
    assert await queues.put(ANN) is Put.UPDATED
    assert await standing(queues, ANN) == [TicketState.WAITING]


async def test_putting_a_paused_ticket_paused_does_not_begin_its_pause_anew(queues: RedisQueues) -> None:
    """Else whoever checks it would keep it for ever; one that waits is paused from now on."""
    await queues.put(ANN)
    await queues.pause(POOL, [ANN.ticket_id])
    (before,) = await queues.scan(POOL)
    await asyncio.sleep(0.01)
    moved = msgspec.structs.replace(ANN, node_id=NodeId("node-2"))

    assert await queues.put(ANN, paused=True) is Put.UNCHANGED
    assert await queues.put(moved, paused=True) is Put.UPDATED
    (after,) = await queues.scan(POOL)
    assert (after.ticket, after.paused_at) == (moved, before.paused_at)
    assert (await queues.depths(POOL))[ANN.side][TicketState.PAUSED] == 1
    await queues.put(BOB)
    assert await queues.put(BOB, paused=True) is Put.UPDATED
    assert await standing(queues, BOB) == [TicketState.PAUSED]


async def test_a_paused_ticket_keeps_its_place_and_wakes_when_it_is_put(queues: RedisQueues) -> None:
    """The pause begins once; absent and matched tickets are not paused."""
    await queues.put(ANN)
    await queues.pause(POOL, [ANN.ticket_id, TicketId("absent")])
    (paused,) = await queues.scan(POOL)
    await asyncio.sleep(0.01)
    await queues.pause(POOL, [ANN.ticket_id])
    events = await heard(queues)

    assert (paused.state, paused.ticket) == (TicketState.PAUSED, ANN)
    assert events[1:] == [Paused(ANN.ticket_id, paused.paused_at)]
    assert await queues.put(ANN, create=False) is Put.UPDATED
    assert await standing(queues, ANN) == [TicketState.WAITING]


async def test_a_pause_that_begins_anew_is_counted_from_then(queues: RedisQueues) -> None:
    """So is the place of somebody kept who is away; the answer tells where each ticket stands."""
    await claimed(queues)
    await queues.put(EVE)
    absent = TicketId("absent")
    first = await queues.pause(POOL, [EVE.ticket_id, ANN.ticket_id, absent])
    [before] = [each for each in await queues.scan(POOL) if each.ticket == EVE]
    await asyncio.sleep(0.01)
    again = await queues.pause(POOL, [EVE.ticket_id, ANN.ticket_id, absent], anew=True)
    [after] = [each for each in await queues.scan(POOL) if each.ticket == EVE]

    assert first == again == [TicketState.PAUSED, TicketState.MATCHED, TicketState.ABSENT]
    assert after.paused_at > before.paused_at
    assert (await heard(queues))[-1] == Paused(EVE.ticket_id, after.paused_at)
    assert (await queues.depths(POOL))[Gender.OTHER][TicketState.PAUSED] == 1
    assert after.ticket.queued_at == EVE.queued_at


async def test_a_ticket_comes_back_from_its_match_paused_where_nobody_is_there(queues: RedisQueues) -> None:
    """It is at its place, and never was up to be matched in between."""
    match = await claimed(queues)
    state = await queues.resolve(match.ref("a"), returns=True, paused=True)
    [back] = [each for each in await queues.scan(POOL) if each.ticket.ticket_id == ANN.ticket_id]
    last = (await heard(queues))[-1]

    assert state is TicketState.PAUSED
    assert back.state is TicketState.PAUSED
    assert back.ticket.queued_at == ANN.queued_at
    assert BOB.user_id in back.ticket.exclusions
    assert last == Paused(ANN.ticket_id, back.paused_at)
    depths = (await queues.depths(POOL))[Gender.FEMALE]
    assert depths == {TicketState.WAITING: 0, TicketState.PAUSED: 1, TicketState.MATCHED: 0}
    assert await queues.put(ANN, create=False) is Put.UPDATED
    assert await standing(queues, ANN) == [TicketState.WAITING]


async def test_only_what_was_paused_for_too_long_is_dropped(queues: RedisQueues) -> None:
    """By the pool's owner only; a waiting ticket is not dropped."""
    token = (await owner(queues)).token
    await queues.put(ANN)
    await queues.put(BOB)
    await queues.pause(POOL, [ANN.ticket_id])
    both = [ANN.ticket_id, BOB.ticket_id]

    assert await queues.drop_paused(POOL, token, both, paused_s=60) == []
    assert await queues.drop_paused(POOL, "1-other", both, paused_s=0) == []
    assert await queues.drop_paused(POOL, token, both, paused_s=0) == [ANN]
    assert await standing(queues, ANN, BOB) == [TicketState.ABSENT, TicketState.WAITING]
    assert (await heard(queues))[-1] == Departed(ANN.ticket_id)


async def test_a_matched_ticket_is_not_paused(queues: RedisQueues) -> None:
    """What becomes of it is the call's business."""
    await claimed(queues)
    await queues.pause(POOL, [ANN.ticket_id])

    assert await standing(queues, ANN) == [TicketState.MATCHED]


async def test_a_paused_ticket_is_not_claimed(queues: RedisQueues) -> None:
    """It keeps its place, but nobody meets it."""
    await queues.put(ANN)
    await queues.put(BOB)
    await queues.pause(POOL, [ANN.ticket_id])
    reply = await queues.claim(POOL, (await owner(queues)).token, [match_of(ANN, BOB)])

    assert reply.claims[0].lost == {"a"}
