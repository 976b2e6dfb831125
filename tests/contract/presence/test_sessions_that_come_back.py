"""Sessions that go on after a lapsed lease, an interruption or a loss: with their row, or without where it is another's."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from base.ids import NodeId
from presence.errors import TokenRevoked
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from tests.contract.presence.session_rows import Make, register, row


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
