"""Rows of users' sessions in Redis: whose row it is, under which generation, and who may touch it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from accounts.model import RevokeReason
from base.errors import CloseCode, ErrorCode, Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.errors import TokenRevoked, TooManyDevices
from presence.nodes import Incarnation, NodeStats
from presence.registry import Registry
from presence.sessions import DevicesFull, LostSession, Registered, Registration, SessionRow
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from storage.redis.revocations import RedisRevocations

Make = Callable[..., Registration]


async def register(sessions: RedisSessions, wanted: Registration) -> Registered:
    answer = await sessions.register(wanted, max_devices=3)
    assert isinstance(answer, Registered)
    return answer


def row(of: Registration, generation: int) -> SessionRow:
    return SessionRow(of.device_id, of.node_id, of.session_id, generation)


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


async def test_a_token_from_before_a_sign_out_everywhere_is_refused(
    sessions: RedisSessions, registration: Make, redis: Redis, keys: Keys, nodes: RedisNodes
) -> None:
    """The refusal carries the code that closes the connection, and nothing is written."""
    phone = registration(issued_at_ms=999)
    await redis.hset(keys.user(phone.user_id), "revoked_before", 1_000)

    with pytest.raises(TokenRevoked) as refusal:
        await sessions.register(phone, max_devices=3)
    assert refusal.value.close_code is CloseCode.REVOKED
    assert refusal.value.code is ErrorCode.UNAUTHENTICATED
    assert await sessions.sessions(phone.user_id) == []
    assert await nodes.listed_sessions(phone.node_id, limit=10) == []
    await register(sessions, replace(phone, token_issued_at_ms=1_000))


@pytest.mark.parametrize("step", ["register", "reassert"])
async def test_a_token_of_a_sign_in_that_was_ended_is_refused(
    step: str,
    sessions: RedisSessions,
    registration: Make,
    redis: Redis,
    keys: Keys,
    nodes: RedisNodes,
) -> None:
    """That sign-in alone: the user's other devices come in. Told in the step that lets the session in, not in one before."""
    lost = replace(registration(), token_family="lost phone")
    kept = replace(registration(), token_family="laptop")
    generation = (await register(sessions, lost)).generation
    await RedisRevocations(redis, keys).revoke_family(lost.user_id, "lost phone", 1, RevokeReason.LOGOUT)

    with pytest.raises(TokenRevoked):
        if step == "register":
            await register(sessions, replace(lost, session_id=SessionId("again")))
        else:
            await sessions.reassert(lost, generation)
    await register(sessions, kept)
    assert SessionId("again") not in {
        listed.session_id for listed in await nodes.listed_sessions(lost.node_id, limit=10)
    }


async def test_who_may_have_been_forgotten_is_not_taken_for_somebody_new(
    sessions: RedisSessions, nodes: RedisNodes, registration: Make
) -> None:
    """A store that was emptied knows of no sign-out either: nobody comes in by it, and nothing stays behind."""
    registry = Registry(sessions, nodes)
    phone = registration()
    asked = 0

    async def lost() -> None:
        nonlocal asked
        asked += 1
        raise Unavailable

    registry.make_sure = lost

    with pytest.raises(Unavailable):
        await registry.register(phone)
    assert asked == 1
    assert await sessions.where(phone.user_id, phone.device_id) is None
    assert await nodes.listed_sessions(phone.node_id, limit=10) == []


async def test_nobody_is_asked_about_a_user_whom_the_store_knows(
    sessions: RedisSessions, nodes: RedisNodes, registration: Make, redis: Redis, keys: Keys
) -> None:
    """Which is nearly every start: a second look would cost each of them."""
    registry = Registry(sessions, nodes)
    phone = registration()
    await redis.hset(keys.user(phone.user_id), "blocks_known", 1)

    async def lost() -> None:
        raise Unavailable

    registry.make_sure = lost

    assert (await registry.register(phone)).blocks_known


async def test_a_fourth_device_is_refused(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes
) -> None:
    """The others are named; a device that has a row may always come back."""
    devices = [registration() for _ in range(3)]
    generations = [(await register(sessions, device)).generation for device in devices]
    fourth = registration()
    answer = await sessions.register(fourth, max_devices=3)

    assert isinstance(answer, DevicesFull)
    assert set(answer.rows) == {row(*pair) for pair in zip(devices, generations, strict=True)}
    assert await sessions.where(fourth.user_id, fourth.device_id) is None
    assert fourth.session_id not in {
        listed.session_id for listed in await nodes.listed_sessions(fourth.node_id, limit=10)
    }
    await register(sessions, replace(devices[0], session_id=SessionId("back")))


async def test_rows_of_dead_nodes_take_nobodys_place(
    sessions: RedisSessions, nodes: RedisNodes, registration: Make, incarnation: Callable[..., Incarnation]
) -> None:
    """Three devices stood on a node that died: the user comes in with a fourth, and not with a seventh."""
    registry = Registry(sessions, nodes)
    living = incarnation()
    await nodes.acquire(living, NodeStats())
    for _ in range(3):
        await registry.register(registration())
    fresh = [registration(node=living.node_id) for _ in range(4)]
    for device in fresh[:3]:
        await registry.register(device)

    assert {found.device_id for found in await registry.sessions(fresh[0].user_id)} == {
        device.device_id for device in fresh[:3]
    }
    with pytest.raises(TooManyDevices) as refusal:
        await registry.register(fresh[3])
    assert refusal.value.close_code is CloseCode.TOO_MANY_DEVICES


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


async def test_a_node_takes_its_session_over_into_its_next_incarnation(
    sessions: RedisSessions, registration: Make
) -> None:
    """After a lapsed lease the row moves along, under a higher generation; asking twice answers the same."""
    phone = registration()
    before = await register(sessions, phone)
    moved = replace(phone, node_id=NodeId("next"))
    after = await sessions.reassert(moved, before.generation)

    assert after is not None
    assert after.generation > before.generation
    assert await sessions.where(phone.user_id, phone.device_id) == row(moved, after.generation)
    assert await sessions.reassert(moved, before.generation) == after


async def test_the_generation_rises_when_a_device_comes_back_to_its_session(
    sessions: RedisSessions, registration: Make
) -> None:
    """On the same node: a late write from before the interruption fits no more."""
    phone = registration()
    before = await register(sessions, phone)
    after = await sessions.reassert(phone, before.generation)

    assert after is not None
    assert after.generation > before.generation
    assert not await sessions.unregister(phone, before.generation)
    assert await sessions.unregister(phone, after.generation)


async def test_a_session_that_was_lost_is_written_again(sessions: RedisSessions, registration: Make) -> None:
    """The store lost everything, or the reaper was quicker: a session that lives on has its row back."""
    phone = registration()
    written = await sessions.reassert(phone, 5)

    assert written is not None
    assert not written.blocks_known
    assert await sessions.where(phone.user_id, phone.device_id) == row(phone, written.generation)


async def test_blocks_that_the_store_does_not_know_are_restored_before_anybody_is_let_in(
    sessions: RedisSessions, nodes: RedisNodes, registration: Make, redis: Redis, keys: Keys
) -> None:
    """With each registration until they are known; also for those who were here when the store lost everything."""
    asked: list[UserId] = []
    is_away = True

    async def restore(user_id: UserId) -> bool:
        asked.append(user_id)
        if not is_away:
            await redis.hset(keys.user(user_id), "blocks_known", "1")
        return not is_away

    registry, phone = Registry(sessions, nodes, restore_blocks=restore), registration()
    while_away = await registry.register(phone)
    is_away = False
    restored = await registry.register(phone)
    known = await registry.register(phone)
    asked_before_the_loss = len(asked)
    await redis.flushdb()
    generation = await registry.reassert(phone, known.generation)
    assert generation is not None
    await registry.reassert(phone, generation)

    assert [answer.blocks_known for answer in (while_away, restored, known)] == [False, True, True]
    assert asked_before_the_loss == 2
    assert asked == [phone.user_id] * 3


async def test_a_session_is_not_taken_over_once_its_device_has_another(
    sessions: RedisSessions, registration: Make, nodes: RedisNodes
) -> None:
    """While the node was away the device connected elsewhere: the old session is told so, the new one stays."""
    old = registration(device="phone")
    before = await register(sessions, old)
    new = registration(device="phone", node=NodeId("elsewhere"))
    after = await register(sessions, new)
    moved = replace(old, node_id=NodeId("next"))

    assert await sessions.reassert(moved, before.generation) is None
    assert await sessions.where(new.user_id, new.device_id) == row(new, after.generation)
    assert await nodes.listed_sessions(NodeId("next"), limit=10) == []


async def test_a_session_is_not_taken_over_after_a_sign_out_everywhere(
    sessions: RedisSessions, registration: Make, redis: Redis, keys: Keys
) -> None:
    """Being away when the user was banned is no way around the ban."""
    phone = registration()
    before = await register(sessions, phone)
    await redis.hset(keys.user(phone.user_id), "revoked_before", phone.token_issued_at_ms + 1)

    with pytest.raises(TokenRevoked):
        await sessions.reassert(replace(phone, node_id=NodeId("next")), before.generation)


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


async def test_of_many_devices_at_once_three_come_in(
    sessions: RedisSessions, registration: Make, redis: Redis
) -> None:
    """The limit holds under any interleaving."""
    answers = await asyncio.gather(*(sessions.register(registration(), max_devices=3) for _ in range(20)))

    assert sum(isinstance(answer, Registered) for answer in answers) == 3


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


async def test_of_two_sessions_of_a_device_that_put_themselves_back_the_newer_stays(
    sessions: RedisSessions, registration: Make, new_id: Callable[[], str]
) -> None:
    """After a loss both nodes believe to have the device's session; whoever is quicker, the later one is the device's."""
    older = registration(device="phone", node=NodeId("node-1"), session=new_id())
    await asyncio.sleep(0.002)
    newer = registration(device="phone", node=NodeId("node-2"), session=new_id())
    first = await sessions.reassert(older, 5)
    assert first is not None
    await sessions.note_away(older, first.generation, True)
    second = await sessions.reassert(newer, 7)
    again = await sessions.reassert(older, first.generation)
    stands = await sessions.where(newer.user_id, newer.device_id)

    assert second is not None
    assert first.superseded is None
    assert second.superseded == row(older, first.generation)
    assert second.generation > first.generation
    assert again is None
    assert stands == row(newer, second.generation)
