"""Whoever changes what a user does has to have a row in the user's slot, and what was lost of it can be put back."""

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from base.ids import CallId, SessionId, TicketId
from matchmaker.activity import Activity, InCall, Queued
from matchmaker.ports import Caller, Entered, UnknownSession
from storage.redis.activities import RedisActivities
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.contract.matchmaker.anns_slot import ANN, IN_CALL, PHONE, QUEUED, REF

ME = Caller(PHONE, SessionId("session-1"), 7)
NOT_ME = {
    "no row": None,
    "another session": "node-1 session-2 7",
    "an older generation": "node-1 session-1 6",
    "a newer generation": "node-2 session-1 8",
}

Change = Callable[[RedisActivities, Caller | None], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "join": lambda slots, caller: slots.join(ANN, caller or Caller(PHONE), Queued("dating", TicketId("t-2"))),
    "enter": lambda slots, caller: slots.enter_call(REF, caller),
    "restore": lambda slots, caller: slots.restore_call(
        ANN, caller or Caller(PHONE), IN_CALL, came_from=QUEUED, queued_at=1_000
    ),
}


@pytest.fixture
async def slot(redis: Redis, keys: Keys) -> dict[bytes, bytes]:
    """Ann waits; her phone's row is as `ME` says."""
    fields = {
        "session:phone": "node-1 session-1 7",
        "activity": str(QUEUED),
        "device": PHONE,
        "queued_at": "1000",
    }
    await redis.hset(keys.user(ANN), mapping=fields)
    return {name.encode(): str(value).encode() for name, value in fields.items()}


@pytest.mark.parametrize("row", NOT_ME.values(), ids=NOT_ME.keys())
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_nothing_is_changed_for_a_session_that_the_slot_does_not_know(
    activities: RedisActivities,
    redis: Redis,
    keys: Keys,
    slot: dict[bytes, bytes],
    change: Change,
    row: str | None,
) -> None:
    """The store has lost the row, or the device has another session: both are for the hub to find out."""
    if row is None:
        await redis.hdel(keys.user(ANN), "session:phone")
        del slot[b"session:phone"]
    else:
        await redis.hset(keys.user(ANN), "session:phone", row)
        slot[b"session:phone"] = row.encode()
    with pytest.raises(UnknownSession):
        await change(activities, ME)

    assert await redis.hgetall(keys.user(ANN)) == slot
    assert not await redis.exists(keys.recent(ANN))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_whoever_names_no_session_is_not_asked_for_a_row(
    activities: RedisActivities, redis: Redis, keys: Keys, change: Change
) -> None:
    """The pool's owner acts for people whose sessions it does not know, and so does an older release."""
    await redis.hset(keys.user(ANN), mapping={"activity": str(QUEUED), "queued_at": 1_000})

    await change(activities, None)


async def test_a_row_with_more_in_it_is_still_the_sessions(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """A newer release may write more behind the first three words."""
    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7 and more")

    assert (await activities.join(ANN, ME, QUEUED)).taken


async def test_a_known_session_goes_all_the_way(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """Into the queue, into the call, and back."""
    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7")

    assert (await activities.join(ANN, ME, QUEUED)).taken
    assert await activities.enter_call(REF, ME) is Entered.ENTERED
    assert (await activities.read(ANN)).activity == IN_CALL
    assert await activities.return_from_call(REF, apart_s=60)
    assert (await activities.read(ANN)).activity == QUEUED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, IN_CALL),
        (IN_CALL, IN_CALL),
        (QUEUED, IN_CALL),
        (Queued("friends", TicketId("another")), Queued("friends", TicketId("another"))),
        (InCall(CallId("another")), InCall(CallId("another"))),
    ],
    ids=["idle", "there", "fell back", "another ticket", "another call"],
)
async def test_a_call_is_put_back_where_nothing_newer_stands(
    activities: RedisActivities, redis: Redis, keys: Keys, before: Activity | None, after: Activity
) -> None:
    """Idle is what a loss leaves; the call's own ticket is what the failover of an older replica leaves."""
    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7")
    if before is not None:
        await redis.hset(keys.user(ANN), "activity", str(before))
    stands = await activities.restore_call(ANN, ME, IN_CALL, came_from=QUEUED, queued_at=1_000)
    slot = await activities.read(ANN)

    assert slot.activity == after
    assert stands is (after == IN_CALL)
    if before != after:
        assert (slot.device_id, slot.queued_at) == (PHONE, 1_000)


async def test_who_went_back_from_the_call_is_not_put_into_it_again(
    activities: RedisActivities, redis: Redis, keys: Keys
) -> None:
    """A hub that has not heard of it must not undo it."""
    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7")
    await activities.join(ANN, ME, QUEUED)
    await activities.enter_call(REF, ME)
    await activities.return_from_call(REF, apart_s=60)

    assert not await activities.restore_call(ANN, ME, IN_CALL, came_from=QUEUED, queued_at=1_000)
    assert (await activities.read(ANN)).activity == QUEUED


@given(
    steps=st.lists(
        st.sampled_from(["join", "enter", "return", "free", "lose", "restore", "register"]), max_size=14
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
async def test_a_slot_says_what_was_done_last_by_whoever_it_knows(redis_url: str, steps: list[str]) -> None:
    """Whatever happens in whatever order, losses included: the model and the scripts agree about every step."""
    redis, keys = connect(redis_url), Keys("model:")
    slots = RedisActivities(redis, keys)
    held: Activity | None = None
    returned = known = False
    try:
        await redis.delete(keys.user(ANN), keys.recent(ANN))
        for step in steps:
            match step:
                case "register":
                    await redis.hset(keys.user(ANN), "session:phone", "node-1 session-1 7")
                    known = True
                case "lose":
                    await redis.delete(keys.user(ANN))
                    held, returned, known = None, False, False
                case "free":
                    over = held == IN_CALL or (held == QUEUED and not returned)
                    assert await slots.free(REF, apart_s=0) is over
                    held, returned = (None, False) if over else (held, returned)
                case "return":
                    assert await slots.return_from_call(REF, apart_s=60) is (held is not None)
                    if held is not None:
                        held, returned = QUEUED, True
                case _ if not known:
                    with pytest.raises(UnknownSession):
                        await _change(slots, step)
                case "join":
                    assert (await slots.join(ANN, ME, QUEUED)).taken is (held in (None, QUEUED))
                    if held is None:
                        held, returned = QUEUED, False
                case "enter":
                    fits = held == IN_CALL or (held == QUEUED and not returned)
                    assert (await slots.enter_call(REF, ME) is Entered.ENTERED) is fits
                    held = IN_CALL if fits else held
                case "restore":
                    fits = held in (None, IN_CALL) or not returned
                    restored = await slots.restore_call(ANN, ME, IN_CALL, came_from=QUEUED, queued_at=1_000)
                    assert restored is fits
                    held = IN_CALL if fits else held

            assert (await slots.read(ANN)).activity == held
    finally:
        await redis.aclose()


async def _change(slots: RedisActivities, step: str) -> None:
    await CHANGES[step](slots, ME)
