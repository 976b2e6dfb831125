"""The pools: tickets, events, matches, lease. Contract of `matchmaker.ports.QueueStore`."""

import asyncio
import time

import msgspec
import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import CallId, NodeId, TicketId, UserId
from base.policy import Gender
from matchmaker.matches import Match, Progress, Seat, SeatRef, seated
from matchmaker.outlook import Outlook, SideOutlook, Spread
from matchmaker.ports import Arrived, Departed, Lease, Left, Paused, PoolEvent, Put, TicketState
from matchmaker.scoring import Rule
from matchmaker.ticket import Ticket
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.queues import RedisQueues
from tests.unit.matchmaker.people import ticket_of

POOL = "friends"
ANN = ticket_of("ann", queued_at=1_000, side=Gender.FEMALE, languages=frozenset({"en", "de"}), region="eu")
BOB = ticket_of("bob", queued_at=2_000, side=Gender.MALE, exclusions=frozenset({UserId("carl")}))
EVE = ticket_of("eve", queued_at=3_000)
TTL_MS = 5_000


def match_of(a: Ticket, b: Ticket, call: str = "call-1") -> Match:
    return Match(call_id=CallId(call), intent=POOL, claimed_at_ms=0, a=seated(a), b=seated(b))


async def owner(queues: RedisQueues) -> Lease:
    return await queues.take_lease(POOL, "nonce", ttl_ms=TTL_MS)


async def claimed(queues: RedisQueues, call: str = "call-1") -> Match:
    """Ann and Bob, matched."""
    await queues.put(ANN)
    await queues.put(BOB)
    match = match_of(ANN, BOB, call)
    reply = await queues.claim(POOL, (await owner(queues)).token, [match])
    assert [claim.lost for claim in reply.claims] == [frozenset()]
    return msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)


async def heard(queues: RedisQueues, cursor: str = "0-0") -> list[PoolEvent]:
    batch = await queues.events(POOL, cursor, limit=100, block_ms=10)
    return [event for _, event in batch.events]


async def standing(queues: RedisQueues, *tickets: Ticket) -> list[TicketState]:
    return [await queues.state(POOL, ticket.ticket_id) for ticket in tickets]


# --- tickets -----------------------------------------------------------------------------------------------------


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


# --- events ------------------------------------------------------------------------------------------------------


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
    reading = asyncio.create_task(queues.events(POOL, "0-0", limit=100, block_ms=10_000))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await queues.put(ANN)
    batch = await reading

    assert len(batch.events) == 1
    assert time.monotonic() - began < 5


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


# --- lease -------------------------------------------------------------------------------------------------------


async def test_a_pool_has_one_owner(queues: RedisQueues) -> None:
    """Another hears for how long the lease lasts; the owner asking again gets the token it has."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)
    theirs = await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)
    again = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)

    assert mine.token.endswith("-mine")
    assert theirs.token == ""
    assert 0 < theirs.held_ms <= TTL_MS
    assert again.token == mine.token


async def test_a_lease_ends_unless_it_is_kept(queues: RedisQueues) -> None:
    """The next owner's token is another and higher one, and the old owner learns that it is out."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=60)
    assert (await queues.keep_lease(POOL, mine.token, ttl_ms=60)).token == mine.token
    await asyncio.sleep(0.1)
    theirs = await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)

    assert int(theirs.token.partition("-")[0]) > int(mine.token.partition("-")[0])
    assert (await queues.keep_lease(POOL, mine.token, ttl_ms=TTL_MS)).token == ""


async def test_tokens_rise_whatever_the_clock_did(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """After a clock that was ahead, the stored number is the floor."""
    ahead = 9_000_000_000_000_000
    await redis.hset(keys.pool_counts(POOL), "token", ahead)

    assert (await owner(queues)).token == f"{ahead + 1}-nonce"


async def test_a_lease_is_given_up_by_its_owner_only(queues: RedisQueues) -> None:
    """Then anyone may take it at once."""
    mine = await queues.take_lease(POOL, "mine", ttl_ms=TTL_MS)
    await queues.drop_lease(POOL, "1-other")
    assert (await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)).token == ""
    await queues.drop_lease(POOL, mine.token)

    assert (await queues.take_lease(POOL, "theirs", ttl_ms=TTL_MS)).token


async def test_a_lease_tells_where_the_events_end(queues: RedisQueues) -> None:
    """Reading on from there finds exactly what comes after."""
    empty = await owner(queues)
    await queues.put(ANN)
    full = await owner(queues)
    await queues.put(BOB)
    batch = await queues.events(POOL, full.cursor, limit=10, block_ms=10)

    assert (empty.cursor, empty.number, full.number) == ("0-0", 0, 1)
    assert [number for number, _ in batch.events] == [2]


# --- claims and matches ------------------------------------------------------------------------------------------


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


async def test_a_matched_ticket_is_not_paused(queues: RedisQueues) -> None:
    """What becomes of it is the call's business."""
    await claimed(queues)
    await queues.pause(POOL, [ANN.ticket_id])

    assert await standing(queues, ANN) == [TicketState.MATCHED]


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


async def test_a_paused_ticket_is_not_claimed(queues: RedisQueues) -> None:
    """It keeps its place, but nobody meets it."""
    await queues.put(ANN)
    await queues.put(BOB)
    await queues.pause(POOL, [ANN.ticket_id])
    reply = await queues.claim(POOL, (await owner(queues)).token, [match_of(ANN, BOB)])

    assert reply.claims[0].lost == {"a"}


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


async def test_a_claim_says_after_which_event_it_came(queues: RedisQueues) -> None:
    """So that a reader can tell what it hears late from what is new."""
    await queues.put(ANN)
    await queues.put(BOB)
    token = (await owner(queues)).token

    assert (await queues.claim(POOL, token, [match_of(ANN, BOB)])).number == 2


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
            await asyncio.wait_for(attempt, 3)
    await away.aclose()


# --- outlook -----------------------------------------------------------------------------------------------------


def outlook_at(at: int) -> Outlook:
    side = SideOutlook(
        waiting=3, marks=[(0, 1_000), (2, 3_000)], matched_per_s=0.5, matched_wait_s=Spread(p50=2.5)
    )
    return Outlook(at=at, sides=dict.fromkeys(Gender, side), rejections={Rule.REGION: 4})


async def test_everybody_reads_what_the_owner_publishes(queues: RedisQueues) -> None:
    """The newest; nothing before the first."""
    token = (await owner(queues)).token

    assert await queues.outlook(POOL) is None
    assert await queues.publish(POOL, token, outlook_at(1), ttl_ms=TTL_MS)
    assert await queues.publish(POOL, token, outlook_at(2), ttl_ms=TTL_MS)
    assert await queues.outlook(POOL) == outlook_at(2)


async def test_only_the_owner_publishes(queues: RedisQueues) -> None:
    """Whoever was frozen for too long has nothing more to say."""
    await owner(queues)

    assert not await queues.publish(POOL, "1-old", outlook_at(1), ttl_ms=TTL_MS)
    assert await queues.outlook(POOL) is None


async def test_what_nobody_repeats_is_forgotten(queues: RedisQueues) -> None:
    """Without an owner nobody is told how long it will take."""
    await queues.publish(POOL, (await owner(queues)).token, outlook_at(1), ttl_ms=20)
    await asyncio.sleep(0.05)

    assert await queues.outlook(POOL) is None


async def test_an_outlook_of_another_release_is_none(queues: RedisQueues, redis: Redis, keys: Keys) -> None:
    """People wait on all the same."""
    await redis.set(keys.outlook(POOL), b"\x93")

    assert await queues.outlook(POOL) is None


# --- matchmakers -------------------------------------------------------------------------------------------------


async def test_matchmakers_know_who_stands_for_which_pool(queues: RedisQueues) -> None:
    """Until they leave."""
    assert await queues.enrol("one", ["arts", "book club"], ttl_ms=TTL_MS) == {
        "arts": {"one"},
        "book club": {"one"},
    }
    assert await queues.enrol("two", ["arts"], ttl_ms=TTL_MS) == {
        "arts": {"one", "two"},
        "book club": {"one"},
    }
    assert await queues.enrol("one", ["arts", "book club"], ttl_ms=0) == {"arts": {"two"}}


async def test_a_matchmaker_that_says_nothing_is_forgotten(queues: RedisQueues) -> None:
    """As when it is frozen, or its machine is gone; or for one pool, when its worker hangs."""
    await queues.enrol("one", ["arts", "books"], ttl_ms=40)
    await queues.enrol("two", ["arts"], ttl_ms=TTL_MS)
    await asyncio.sleep(0.02)
    await queues.enrol("one", ["arts"], ttl_ms=TTL_MS)
    await asyncio.sleep(0.05)

    assert await queues.enrol("two", ["arts"], ttl_ms=TTL_MS) == {"arts": {"one", "two"}}


async def test_one_may_look_whether_a_pool_is_owned(queues: RedisQueues) -> None:
    """Without taking it."""
    assert await queues.owned_for(POOL) == 0
    token = (await owner(queues)).token
    assert 0 < await queues.owned_for(POOL) <= TTL_MS

    await queues.drop_lease(POOL, token)
    assert await queues.owned_for(POOL) == 0


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
