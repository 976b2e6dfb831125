"""Rows of users' sessions in Redis: whose row it is, under which generation, and who may touch it."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.errors import BegunAnew
from presence.sessions import LostSession
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from tests.contract.presence.session_rows import Make, register, row


async def test_a_registered_session_is_found_by_user_and_device(
    sessions: RedisSessions, registration: Make
) -> None:
    """The row names node, session and generation."""
    phone, laptop = registration(), registration()
    on_phone, on_laptop = await register(sessions, phone), await register(sessions, laptop)
    found = await sessions.sessions(phone.user_id)

    assert await sessions.where(phone.user_id, phone.device_id) == row(phone, on_phone.generation)
    assert set(found) == {row(phone, on_phone.generation), row(laptop, on_laptop.generation)}
    assert on_phone.superseded is None
    assert await sessions.where(phone.user_id, DeviceId("another")) is None


async def test_a_slot_is_kept_for_a_while_after_the_last_session_began(
    sessions: RedisSessions, registration: Make, redis: Redis, keys: Keys
) -> None:
    """Else everybody who was ever here would fill the store for good. Each session begins the time anew; blocks stay."""
    phone = registration()
    slot, blocks = keys.user(phone.user_id), keys.blocks(phone.user_id)
    await redis.sadd(blocks, "somebody")
    first = await register(sessions, phone)
    after_a_start = await redis.ttl(slot)
    await redis.expire(slot, 60)
    await sessions.reassert(phone, first.generation)
    after_a_return = await redis.ttl(slot)

    assert round(after_a_start / 86_400) == round(after_a_return / 86_400) == 90
    assert await redis.ttl(blocks) == -1


async def test_the_newest_session_of_a_device_wins_and_names_the_one_before(
    sessions: RedisSessions, registration: Make
) -> None:
    """A device that connects again, anywhere, takes its row over; the other node can be told."""
    old = registration(device="phone")
    new = replace(old, session_id=SessionId("second"), node_id=NodeId("elsewhere"))
    before, after = await register(sessions, old), await register(sessions, new)

    assert after.superseded == row(old, before.generation)
    assert after.generation > before.generation
    assert await sessions.sessions(old.user_id) == [row(new, after.generation)]


async def test_registering_again_after_a_lost_answer_supersedes_nobody(
    sessions: RedisSessions, registration: Make
) -> None:
    """The client library may repeat a command: a session must not be told that it closed itself."""
    phone = registration()
    first = await register(sessions, phone)
    again = await register(sessions, phone)

    assert again.superseded is None
    assert again.generation > first.generation


async def test_a_generation_rises_over_the_end_of_the_session(
    sessions: RedisSessions, registration: Make
) -> None:
    """A late write of the session before must never fit the row of the one after."""
    phone = registration(device="phone")
    first = await register(sessions, phone)
    await sessions.unregister(phone, first.generation)
    second = await register(sessions, registration(device="phone"))

    assert second.generation > first.generation


async def test_a_generation_rises_although_the_stores_clock_went_back(
    sessions: RedisSessions, registration: Make, redis: Redis, keys: Keys
) -> None:
    """After a failover to a slower clock, a stored generation lies in the future; the next is one more."""
    phone = registration(device="phone")
    ahead = 9_000_000_000_000_000
    await redis.hset(keys.user(phone.user_id), "session:phone", f"{phone.node_id} earlier {ahead}")
    registered = await register(sessions, phone)

    assert registered.generation == ahead + 1


async def test_registering_tells_what_the_user_is_in(
    sessions: RedisSessions, registration: Make, redis: Redis, keys: Keys
) -> None:
    """The new session can draw its screen: activity, whose device it is, whether blocks are known."""
    phone = registration()
    idle = await register(sessions, phone)
    await redis.hset(
        keys.user(phone.user_id),
        mapping={"activity": "queued:dating:t1", "device": "phone", "blocks_known": "1"},
    )
    queued = await register(sessions, phone)

    assert (idle.activity, idle.activity_device, idle.blocks_known) == ("", None, False)
    assert (queued.activity, queued.activity_device, queued.blocks_known) == (
        "queued:dating:t1",
        DeviceId("phone"),
        True,
    )


async def test_a_row_tells_whether_its_user_is_away(sessions: RedisSessions, registration: Make) -> None:
    """On that device; only the session whose row it is may say so."""
    phone, laptop = registration(), registration()
    on_phone, on_laptop = await register(sessions, phone), await register(sessions, laptop)
    stale = await sessions.note_away(phone, on_phone.generation - 1, True)
    nobody = await sessions.note_away(replace(phone, device_id=DeviceId("third")), 1, True)
    noted = await sessions.note_away(phone, on_phone.generation, True)
    found = await sessions.sessions(phone.user_id)

    assert (stale, nobody, noted) == (False, False, True)
    away = replace(row(phone, on_phone.generation), away=True)
    assert set(found) == {away, row(laptop, on_laptop.generation)}
    assert await sessions.where(phone.user_id, phone.device_id) == away
    assert await sessions.note_away(phone, on_phone.generation, False)
    assert not (await sessions.sessions(phone.user_id))[0].away


async def test_being_away_goes_on_in_the_devices_next_session(
    sessions: RedisSessions, registration: Make
) -> None:
    """Also when it resumes on another incarnation, and not once the session has ended."""
    first = registration(device="phone")
    second = replace(first, session_id=SessionId("second"))
    before = await register(sessions, first)
    await sessions.note_away(first, before.generation, True)
    after = await register(sessions, second)
    moved = replace(second, node_id=NodeId("elsewhere"))
    again = await sessions.reassert(moved, after.generation)
    assert again is not None
    found = await sessions.where(first.user_id, first.device_id)
    await sessions.unregister(moved, again.generation)
    anew = await register(sessions, first)

    assert (before.was_away, after.was_away) == (False, True)
    assert found == replace(row(moved, again.generation), away=True)
    assert not anew.was_away
    assert await sessions.sessions(first.user_id) == [row(first, anew.generation)]


async def test_only_the_session_whose_row_it_is_can_remove_it(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes
) -> None:
    """The late end of a superseded session, or of an older generation, changes nothing."""
    old = registration(device="phone")
    before = await register(sessions, old)
    new = registration(device="phone")
    after = await register(sessions, new)

    assert not await sessions.unregister(old, before.generation)
    assert not await sessions.unregister(new, before.generation)
    assert await sessions.where(new.user_id, new.device_id) == row(new, after.generation)
    assert await sessions.unregister(new, after.generation)
    assert await sessions.where(new.user_id, new.device_id) is None
    assert await nodes.listed_sessions(new.node_id, limit=10) == []


async def test_a_session_is_on_its_nodes_list_while_it_lasts(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes
) -> None:
    """So that, should the node die, somebody knows whom it takes with it. Device names may have spaces."""
    phone = registration(device="Ann's phone, no. 2")
    await register(sessions, phone)

    assert await nodes.listed_sessions(phone.node_id, limit=10) == [
        LostSession(phone.user_id, phone.device_id, phone.session_id)
    ]


async def test_a_late_end_leaves_a_row_that_stays_on_its_nodes_list(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes
) -> None:
    """The device came back, and its row has another generation: when the node dies, whoever looks must find it."""
    phone = registration()
    before = await register(sessions, phone)
    after = await sessions.reassert(phone, before.generation)
    removed = await sessions.unregister(phone, before.generation)

    assert after is not None
    assert not removed
    assert await sessions.where(phone.user_id, phone.device_id) == row(phone, after.generation)
    assert await nodes.listed_sessions(phone.node_id, limit=10) == [
        LostSession(phone.user_id, phone.device_id, phone.session_id)
    ]


@pytest.mark.parametrize("goes_on", ["on another node", "nowhere", "as another session"])
async def test_a_late_end_takes_a_session_off_the_list_of_a_node_that_has_no_row(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes, goes_on: str
) -> None:
    """Its row is gone or is elsewhere now: what stood on the list says nothing any more."""
    phone = registration(device="phone")
    before = await register(sessions, phone)
    match goes_on:
        case "on another node":
            await sessions.reassert(replace(phone, node_id=NodeId("elsewhere")), before.generation)
        case "as another session":
            await register(sessions, registration(device="phone", node=NodeId("elsewhere")))
        case _:
            await nodes.reap(phone.node_id, LostSession(phone.user_id, phone.device_id, phone.session_id))
    listed = await nodes.listed_sessions(phone.node_id, limit=10)
    removed = await sessions.unregister(phone, before.generation)

    assert len(listed) == 1
    assert not removed
    assert await nodes.listed_sessions(phone.node_id, limit=10) == []


async def test_of_many_sessions_of_one_device_at_once_one_remains(
    sessions: RedisSessions, registration: Make
) -> None:
    """Generations are distinct, each session but the first superseded another, and the highest has the row."""
    wanted = [registration(device="phone", node=NodeId(f"n{number}")) for number in range(30)]
    answers = await asyncio.gather(*(register(sessions, one) for one in wanted))
    generations = [answer.generation for answer in answers]
    superseded = {answer.superseded.session_id for answer in answers if answer.superseded}
    last = max(range(30), key=generations.__getitem__)

    assert len(set(generations)) == 30
    assert superseded == {one.session_id for one in wanted} - {wanted[last].session_id}
    assert await sessions.sessions(wanted[0].user_id) == [row(wanted[last], generations[last])]


async def test_a_user_without_sessions_has_none(sessions: RedisSessions) -> None:
    """Nothing is known of a stranger, and asking creates nothing."""
    assert await sessions.sessions(UserId("nobody")) == []


async def test_without_a_store_everything_is_unavailable(keys: Keys, registration: Make) -> None:
    """An outage reaches callers as the one error that they handle."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    sessions, phone = RedisSessions(redis, keys), registration()

    with pytest.raises(Unavailable):
        await sessions.register(phone, max_devices=3)
    with pytest.raises(Unavailable):
        await sessions.reassert(phone, 1)
    with pytest.raises(Unavailable):
        await sessions.unregister(phone, 1)
    with pytest.raises(Unavailable):
        await sessions.sessions(phone.user_id)
    with pytest.raises(Unavailable):
        await sessions.where(phone.user_id, phone.device_id)
    await redis.aclose()


async def test_a_session_that_takes_over_from_a_row_gives_way_to_one_that_was_quicker(
    sessions: RedisSessions, registration: Make
) -> None:
    """Who goes on for a client that has left knows the row that it left; whoever that client has begun since stays."""
    left = registration(device="phone")
    before = row(left, (await register(sessions, left)).generation)
    goes_on = replace(left, session_id=SessionId("goes-on"), instead_of=before)
    anew = replace(left, session_id=SessionId("anew"))
    first = await register(sessions, goes_on)
    again = await register(sessions, goes_on)  # as after an answer that was lost
    newest = await register(sessions, anew)
    with pytest.raises(BegunAnew):
        await sessions.register(goes_on, max_devices=3)
    await sessions.unregister(anew, newest.generation)
    with pytest.raises(BegunAnew):
        await sessions.register(goes_on, max_devices=3)

    assert first.superseded == before
    assert again.superseded is None
    assert await sessions.where(left.user_id, left.device_id) is None
