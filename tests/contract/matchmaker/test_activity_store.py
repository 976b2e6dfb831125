"""The user's slot: the last word about who is in what. Contract of `matchmaker.ports.Activities`."""

import asyncio
import time

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import CallId, DeviceId, NodeId, SessionId, TicketId, UserId
from matchmaker.activity import InCall, Queued
from matchmaker.matches import SeatRef
from matchmaker.ports import Caller, Entered
from presence.sessions import Registered, Registration
from storage.redis.activities import RedisActivities
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.presence import RedisSessions
from tests.contract.matchmaker.anns_slot import ANN, BOB, IN_CALL, PHONE, QUEUED, REF

LAPTOP = DeviceId("laptop")
MINUTE = 60.0
DAY = 86_400.0


async def test_an_idle_user_can_be_queued(activities: RedisActivities) -> None:
    """The slot names ticket and device, and since when, on the server's clock."""
    before_ms = time.time_ns() // 1_000_000
    taken = await activities.join(ANN, Caller(PHONE), QUEUED)
    slot = await activities.read(ANN)

    assert taken.taken
    assert (slot.activity, slot.device_id) == (QUEUED, PHONE)
    assert before_ms <= slot.queued_at <= slot.now_ms
    assert taken.exclusions == frozenset()


async def test_a_user_nobody_heard_of_is_idle(activities: RedisActivities) -> None:
    """An absent slot reads as nothing."""
    slot = await activities.read(ANN)

    assert (slot.activity, slot.device_id, slot.queued_at) == (None, None, 0)


async def test_a_busy_user_is_not_queued_again(activities: RedisActivities) -> None:
    """What stands there is told, and stays."""
    await activities.join(ANN, Caller(PHONE), QUEUED)
    taken = await activities.join(ANN, Caller(LAPTOP), Queued("dating", TicketId("ticket-2")))

    assert not taken.taken
    assert (taken.slot.activity, taken.slot.device_id) == (QUEUED, PHONE)


async def test_what_is_over_can_be_replaced_and_nothing_else(activities: RedisActivities) -> None:
    """The caller says what it found to be over; if the slot says something else by now, that stands."""
    other = Queued("dating", TicketId("ticket-2"))
    await activities.join(ANN, Caller(PHONE), QUEUED)

    assert not (await activities.join(ANN, Caller(PHONE), other, replaces=IN_CALL)).taken
    assert (await activities.join(ANN, Caller(PHONE), other, replaces=QUEUED)).taken
    assert (await activities.read(ANN)).activity == other


async def test_taking_the_slot_for_the_same_ticket_again_changes_nothing(activities: RedisActivities) -> None:
    """A repeated request is answered like the first; the seniority is the old one."""
    await activities.join(ANN, Caller(PHONE), QUEUED, queued_at=1_000)
    again = await activities.join(ANN, Caller(PHONE), QUEUED)

    assert again.taken
    assert again.slot.queued_at == 1_000


async def test_of_two_joins_at_once_one_wins(activities: RedisActivities) -> None:
    """Two devices, one slot."""
    tickets = [Queued("friends", TicketId(f"ticket-{n}")) for n in range(8)]
    answers = await asyncio.gather(*(activities.join(ANN, Caller(PHONE), queued) for queued in tickets))

    assert sum(answer.taken for answer in answers) == 1
    assert len({str(answer.slot.activity) for answer in answers}) == 1


async def test_blocks_and_recent_partners_are_told_at_join(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """A partner whose time is up may be met again, but comes last for as long as the caller says."""
    await redis.sadd(keys.blocks(ANN), "carl")
    await activities.part((ANN, BOB), IN_CALL, apart_s=MINUTE)
    await activities.part((ANN, UserId("dora")), IN_CALL, apart_s=0.001)
    await asyncio.sleep(0.005)
    taken = await activities.join(ANN, Caller(PHONE), QUEUED, met_s=MINUTE)
    forgiving = await activities.join(ANN, Caller(PHONE), QUEUED)

    assert (taken.exclusions, taken.met) == ({"carl", "bob"}, {"dora"})
    assert (forgiving.exclusions, forgiving.met) == ({"carl", "bob"}, frozenset())


async def test_a_shorter_memory_does_not_shorten_a_longer_one(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """A failed call after a long one does not bring the two together sooner; the key goes a day after the last."""
    await activities.part((ANN, BOB), IN_CALL, apart_s=10 * MINUTE)
    await activities.part((ANN, BOB), IN_CALL, apart_s=MINUTE)
    left_ms = await redis.pttl(keys.recent(ANN))

    assert 9 * MINUTE * 1000 < left_ms - DAY * 1000 <= 10 * MINUTE * 1000


@pytest.mark.parametrize("how", ["free", "return"])
async def test_nor_does_the_end_of_a_match(
    activities: RedisActivities, redis: Redis, keys: Keys, how: str
) -> None:
    """Whoever goes back or is freed keeps the longer time, too."""
    await activities.part((ANN, BOB), IN_CALL, apart_s=10 * MINUTE)
    await activities.join(ANN, Caller(PHONE), QUEUED)
    if how == "free":
        assert await activities.free(REF, apart_s=MINUTE)
    else:
        assert await activities.return_from_call(REF, apart_s=MINUTE)

    assert await redis.pttl(keys.recent(ANN)) > (DAY + 9 * MINUTE) * 1000


async def test_two_who_part_are_free_and_do_not_meet_again(activities: RedisActivities) -> None:
    """In one step for each; again, it changes nothing, and whoever does something else by then goes on with it."""
    for user in (ANN, BOB):
        await activities.join(user, Caller(PHONE), Queued("friends", TicketId(f"of {user}")))
        await activities.enter_call(replace(REF, user_id=user, peer_id=ANN, ticket_id=TicketId(f"of {user}")))
    first = await activities.part((ANN, BOB), IN_CALL, apart_s=MINUTE, free=[ANN])
    still = await activities.read(BOB)
    taken = await activities.join(ANN, Caller(PHONE), QUEUED)
    again = await activities.part((ANN, BOB), IN_CALL, apart_s=MINUTE, free=[ANN, BOB])
    back = await activities.join(BOB, Caller(PHONE), Queued("dating", TicketId("new")))

    assert (first, again) == ({ANN}, {BOB})
    assert still.activity == IN_CALL
    assert (taken.taken, taken.exclusions) == (True, {BOB})
    assert (await activities.read(ANN)).activity == QUEUED
    assert (back.taken, back.exclusions) == (True, {ANN})


async def test_leaving_frees_only_what_is_named(activities: RedisActivities) -> None:
    """A late request about an older ticket changes nothing."""
    await activities.join(ANN, Caller(PHONE), QUEUED)

    assert not await activities.leave(ANN, Queued("friends", TicketId("ticket-0")))
    assert await activities.leave(ANN, QUEUED)
    assert not await activities.leave(ANN, QUEUED)
    assert (await activities.read(ANN)).activity is None


async def test_a_session_row_survives_what_happens_to_the_activity(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """Presence keeps its rows in the same hash."""
    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7")
    await activities.join(ANN, Caller(PHONE), QUEUED)
    await activities.leave(ANN, QUEUED)

    assert await redis.hgetall(keys.user(ANN)) == {b"session:phone": b"node-1 session-1 7"}
    assert await activities.session_of(ANN, PHONE) == ("node-1", "session-1")
    assert await activities.session_of(ANN, LAPTOP) is None


async def test_a_matched_user_enters_the_call(activities: RedisActivities) -> None:
    """The step may be repeated; seniority and device stay known, in case it fails."""
    await activities.join(ANN, Caller(PHONE), QUEUED, queued_at=1_000)

    assert await activities.enter_call(REF) is Entered.ENTERED
    assert await activities.enter_call(REF) is Entered.ENTERED
    slot = await activities.read(ANN)
    assert (slot.activity, slot.device_id, slot.queued_at) == (IN_CALL, PHONE, 1_000)


async def test_a_block_refuses_the_call(activities: RedisActivities, redis: Redis, keys: Keys) -> None:
    """Also one that was made after the ticket was queued."""
    await activities.join(ANN, Caller(PHONE), QUEUED)
    await redis.sadd(keys.blocks(ANN), BOB)

    assert await activities.enter_call(REF) is Entered.BLOCKED
    assert (await activities.read(ANN)).activity == QUEUED


async def test_who_left_or_went_elsewhere_does_not_enter(activities: RedisActivities) -> None:
    """An idle user, and one with another ticket."""
    assert await activities.enter_call(REF) is Entered.GONE

    await activities.join(ANN, Caller(PHONE), Queued("dating", TicketId("ticket-2")))
    assert await activities.enter_call(REF) is Entered.GONE


@pytest.mark.parametrize("entered", [True, False])
async def test_a_user_returns_to_the_ticket_and_not_to_the_call(
    activities: RedisActivities, entered: bool
) -> None:
    """A late step into the call they came back from is refused; another call may take them."""
    await activities.join(ANN, Caller(PHONE), QUEUED, queued_at=1_000)
    if entered:
        await activities.enter_call(REF)

    assert await activities.return_from_call(REF, apart_s=MINUTE)
    assert await activities.return_from_call(REF, apart_s=MINUTE)
    slot = await activities.read(ANN)
    assert (slot.activity, slot.queued_at) == (QUEUED, 1_000)
    assert await activities.enter_call(REF) is Entered.GONE

    second = SeatRef(
        intent="friends",
        call_id=CallId("call-2"),
        seat="b",
        user_id=ANN,
        peer_id=UserId("carl"),
        ticket_id=QUEUED.ticket_id,
    )
    assert await activities.enter_call(second) is Entered.ENTERED
    assert not await activities.return_from_call(REF, apart_s=MINUTE)
    assert (await activities.read(ANN)).activity == InCall(second.call_id)


async def test_who_returned_is_not_freed_by_the_same_call(activities: RedisActivities) -> None:
    """Two processes may finish the same match; the ticket that waits again is not over."""
    await activities.join(ANN, Caller(PHONE), QUEUED)
    await activities.return_from_call(REF, apart_s=MINUTE)

    assert not await activities.free(REF, apart_s=MINUTE)
    assert (await activities.read(ANN)).activity == QUEUED


@pytest.mark.parametrize("entered", [True, False])
async def test_who_does_not_return_is_idle(activities: RedisActivities, entered: bool) -> None:
    """Whether the slot named the ticket still or the call already; the two are kept apart."""
    await activities.join(ANN, Caller(PHONE), QUEUED)
    if entered:
        await activities.enter_call(REF)

    assert await activities.free(REF, apart_s=MINUTE)
    assert not await activities.return_from_call(REF, apart_s=MINUTE)
    taken = await activities.join(ANN, Caller(PHONE), QUEUED)
    assert taken.exclusions == {BOB}


async def test_a_server_that_is_away_is_said_to_be_unavailable(keys: Keys) -> None:
    """Every method says so, and none hangs."""
    away = connect("redis://127.0.0.1:1/0", timeout_s=0.3)
    activities = RedisActivities(away, keys)
    for attempt in (
        activities.read(ANN),
        activities.join(ANN, Caller(PHONE), QUEUED),
        activities.leave(ANN, QUEUED),
        activities.enter_call(REF),
        activities.return_from_call(REF, apart_s=1),
        activities.free(REF, apart_s=1),
        activities.part((ANN, BOB), IN_CALL, apart_s=1),
        activities.session_of(ANN, PHONE),
    ):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(attempt, 30)
    await away.aclose()


async def test_who_is_away_is_known_from_the_device_that_waits(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """Not from another device, nor from a session that the device no longer has."""
    sessions = RedisSessions(redis, keys)
    phone = Registration(ANN, PHONE, SessionId("s-phone"), NodeId("n1"), 0)
    laptop = Registration(ANN, LAPTOP, SessionId("s-laptop"), NodeId("n1"), 0)
    on_phone = await sessions.register(phone, max_devices=3)
    on_laptop = await sessions.register(laptop, max_devices=3)
    assert isinstance(on_phone, Registered)
    assert isinstance(on_laptop, Registered)
    nobody = await activities.is_away(BOB)
    await activities.join(ANN, Caller(PHONE), QUEUED)
    await sessions.note_away(laptop, on_laptop.generation, True)
    elsewhere = await activities.is_away(ANN)
    await sessions.note_away(phone, on_phone.generation, True)
    here = await activities.is_away(ANN)
    await redis.hset(keys.user(ANN), f"away:{PHONE}", "an earlier session")

    assert (nobody, elsewhere, here) == (False, False, True)
    assert not await activities.is_away(ANN)
