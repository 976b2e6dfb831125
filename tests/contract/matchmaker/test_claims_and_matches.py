"""How two tickets become a match, and a match is acknowledged, used up by its call, or resolved."""

import time

import pytest
from redis.asyncio import Redis

from base.ids import CallId, TicketId, UserId
from base.policy import Gender
from matchmaker.matches import Progress, Seat, SeatRef
from matchmaker.ports import Arrived, Left, Put, TicketState
from matchmaker.ticket import Ticket
from storage.redis.keys import Keys
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
from tests.unit.matchmaker.people import ticket_of


async def test_a_claim_makes_a_match_of_two_waiting_tickets(queues: RedisQueues) -> None:
    """It is stored with the server's time, neither side has acknowledged it, and nobody can leave any more."""
    match = await claimed(queues)
    (record,) = await queues.matches(POOL)

    assert record.match == match
    assert abs(match.claimed_at_ms - time.time_ns() // 1_000_000) < 2_000
    assert (record.a, record.b) == (Progress.ANNOUNCED, Progress.ANNOUNCED)
    assert await standing(queues, ANN, BOB) == [TicketState.MATCHED, TicketState.MATCHED]
    assert await queues.leave(POOL, ANN.ticket_id) is Left.MATCHED
    assert await queues.put(ANN) is Put.MATCHED


@pytest.mark.parametrize(
    ("there", "lost"),
    [((), {"a", "b"}), ((ANN,), {"b"}), ((BOB,), {"a"})],
    ids=["neither", "only-a", "only-b"],
)
async def test_a_claim_is_whole_or_not_at_all(
    queues: RedisQueues, there: tuple[Ticket, ...], lost: set[str]
) -> None:
    """The survivor goes on waiting."""
    for ticket in there:
        await queues.put(ticket)
    reply = await queues.claim(POOL, (await owner(queues)).token, [match_of(ANN, BOB)])

    assert reply.current
    assert [claim.lost for claim in reply.claims] == [lost]
    assert await queues.matches(POOL) == []
    assert await standing(queues, *there) == [TicketState.WAITING for _ in there]


async def test_one_ticket_in_two_pairs_of_a_batch_is_claimed_once(queues: RedisQueues) -> None:
    """The first pair has it."""
    for ticket in (ANN, BOB, EVE):
        await queues.put(ticket)
    token = (await owner(queues)).token
    reply = await queues.claim(POOL, token, [match_of(ANN, BOB), match_of(ANN, EVE, "call-2")])

    assert [claim.lost for claim in reply.claims] == [frozenset(), {"a"}]
    assert await standing(queues, EVE) == [TicketState.WAITING]


async def test_a_claim_may_be_repeated(queues: RedisQueues) -> None:
    """After an answer that got lost: it is the same match, with the time of the first."""
    match = await claimed(queues)
    again = await queues.claim(POOL, (await owner(queues)).token, [match_of(ANN, BOB)])

    assert [claim.lost for claim in again.claims] == [frozenset()]
    assert [record.match for record in await queues.matches(POOL)] == [match]


async def test_only_the_owner_claims(queues: RedisQueues) -> None:
    """An old token claims nothing, and its holder learns that it is out."""
    await queues.put(ANN)
    await queues.put(BOB)
    reply = await queues.claim(POOL, "1-other", [match_of(ANN, BOB)])

    assert not reply.current
    assert await standing(queues, ANN, BOB) == [TicketState.WAITING, TicketState.WAITING]


async def test_each_side_acknowledges_for_itself(queues: RedisQueues) -> None:
    """Again: the same; for an unknown match: no."""
    match = await claimed(queues)

    assert await queues.acknowledge(POOL, {match.call_id: "b"}) == [True]
    assert await queues.acknowledge(POOL, {match.call_id: "b", CallId("call-0"): "b"}) == [True, False]
    records = await queues.match_records(POOL, [match.call_id, CallId("call-0")])
    assert {call: (record.a, record.b) for call, record in records.items()} == {
        match.call_id: (Progress.ANNOUNCED, Progress.ACKNOWLEDGED)
    }


@pytest.mark.parametrize("seats", [["a", "b"], ["b", "a"]])
async def test_both_sides_acknowledge_at_once_and_nothing_that_is_resolved_comes_back(
    queues: RedisQueues, seats: list[Seat]
) -> None:
    """One node may have both; a side that was resolved before it said so stays resolved."""
    match = await claimed(queues)
    await queues.acknowledge(POOL, {match.call_id: seats})
    both = (await queues.match_records(POOL, [match.call_id]))[match.call_id]
    await queues.resolve(match.ref("a"), returns=False)
    await queues.acknowledge(POOL, {match.call_id: seats})
    then = (await queues.match_records(POOL, [match.call_id]))[match.call_id]

    assert (both.a, both.b) == (Progress.ACKNOWLEDGED, Progress.ACKNOWLEDGED)
    assert (then.a, then.b) == (Progress.RESOLVED, Progress.ACKNOWLEDGED)


async def test_a_live_call_uses_up_match_and_tickets(queues: RedisQueues) -> None:
    """Once."""
    match = await claimed(queues)

    assert await queues.settle(POOL, match.call_id)
    assert not await queues.settle(POOL, match.call_id)
    assert await queues.scan(POOL) == []
    assert await queues.matches(POOL) == []


async def test_settling_late_spares_who_went_back(queues: RedisQueues) -> None:
    """One side waits again already: only the other's ticket is used up."""
    match = await claimed(queues)
    await queues.resolve(match.ref("a"), returns=True)
    await queues.settle(POOL, match.call_id)

    assert await standing(queues, ANN, BOB) == [TicketState.WAITING, TicketState.ABSENT]


async def test_a_returning_ticket_waits_at_its_place_and_avoids_whom_it_met(queues: RedisQueues) -> None:
    """Its seniority is unchanged; the match stays until the other side is resolved, too."""
    match = await claimed(queues)

    assert await queues.resolve(match.ref("b"), returns=True) is TicketState.WAITING
    (record,) = await queues.matches(POOL)
    assert (record.a, record.b) == (Progress.ANNOUNCED, Progress.RESOLVED)
    stored = {each.ticket.user_id: each for each in await queues.scan(POOL)}
    assert stored[BOB.user_id].ticket.seniority == BOB.seniority
    assert stored[BOB.user_id].ticket.exclusions == {"carl", "ann"}
    assert stored[BOB.user_id].state is TicketState.WAITING
    event = (await heard(queues))[-1]
    assert isinstance(event, Arrived)
    assert event.ticket == stored[BOB.user_id].ticket

    assert await queues.resolve(match.ref("a"), returns=False) is TicketState.ABSENT
    assert await queues.matches(POOL) == []
    assert await standing(queues, ANN) == [TicketState.ABSENT]


async def test_whom_a_ticket_met_in_vain_is_remembered_when_it_is_put_again(queues: RedisQueues) -> None:
    """The hub that puts it does not know of it."""
    match = await claimed(queues)
    await queues.resolve(match.ref("a"), returns=True)
    await queues.pause(POOL, [ANN.ticket_id])
    await queues.put(ANN)
    stored = {each.ticket.user_id: each.ticket for each in await queues.scan(POOL)}

    assert stored[ANN.user_id].exclusions == {"bob"}


async def test_a_ticket_remembers_only_so_many(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """The oldest are forgotten, whole ids at a time; it does not grow for ever."""
    await queues.put(ANN)
    for number in range(80):
        token = (await owner(queues)).token
        other = ticket_of(f"01a1fd75-8e9d-7439-b49c-0000000000{number:02}", side=Gender.MALE)
        await queues.put(other)
        match = match_of(ANN, other, f"call-{number}")
        await queues.claim(POOL, token, [match])
        await queues.resolve(match.ref("b"), returns=False)
        await queues.resolve(match.ref("a"), returns=True)
    (stored,) = await queues.scan(POOL)

    assert stored.ticket.exclusions == {
        f"01a1fd75-8e9d-7439-b49c-0000000000{number:02}" for number in range(16, 80)
    }


async def test_resolving_may_be_repeated_and_spares_a_later_match(queues: RedisQueues) -> None:
    """Ann came back and is matched anew: what is said late about the first call does not touch that."""
    first = await claimed(queues)
    await queues.resolve(first.ref("a"), returns=True)
    await queues.resolve(first.ref("a"), returns=True)
    await queues.put(EVE)
    token = (await owner(queues)).token
    await queues.claim(POOL, token, [match_of(ANN, EVE, "call-2")])

    assert await queues.resolve(first.ref("a"), returns=False) is TicketState.MATCHED
    assert await queues.resolve(first.ref("a"), returns=True) is TicketState.MATCHED
    assert await standing(queues, ANN, EVE) == [TicketState.MATCHED, TicketState.MATCHED]


async def test_resolving_what_is_gone_answers_so(queues: RedisQueues) -> None:
    """Neither ticket nor match: nothing happens."""
    ref = SeatRef(
        intent=POOL,
        call_id=CallId("call-9"),
        seat="a",
        user_id=UserId("ann"),
        peer_id=UserId("bob"),
        ticket_id=TicketId("ticket-9"),
    )

    assert await queues.resolve(ref, returns=True) is TicketState.ABSENT


async def test_a_match_nobody_can_read_does_not_hide_the_others(
    queues: RedisQueues, redis: Redis, keys: Keys
) -> None:
    """It is logged and passed over."""
    match = await claimed(queues)
    await redis.hset(keys.matches(POOL), "call-broken", b"--|1|x|y|\x93nonsense")

    assert [record.match for record in await queues.matches(POOL)] == [match]
    assert list(await queues.match_records(POOL, [CallId("call-broken"), match.call_id])) == [match.call_id]
