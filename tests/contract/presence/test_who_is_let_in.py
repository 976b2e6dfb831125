"""Which sessions may have a row: not those of a token that was taken back, nor those of a device too many."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from accounts.model import RevokeReason
from base.errors import CloseCode, ErrorCode, Unavailable
from base.ids import SessionId, UserId
from presence.errors import TokenRevoked, TooManyDevices
from presence.nodes import Incarnation, NodeStats
from presence.registry import Registry
from presence.sessions import DevicesFull, Registered
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from storage.redis.revocations import RedisRevocations
from tests.contract.presence.session_rows import Make, register, row


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


async def test_of_many_devices_at_once_three_come_in(
    sessions: RedisSessions, registration: Make, redis: Redis
) -> None:
    """The limit holds under any interleaving."""
    answers = await asyncio.gather(*(sessions.register(registration(), max_devices=3) for _ in range(20)))

    assert sum(isinstance(answer, Registered) for answer in answers) == 3
