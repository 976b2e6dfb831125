"""Hubs look after their users' places: what was lost is put back, what its user has left is not."""

from typing import Any

import pytest

from base.errors import Unavailable
from matchmaker.activity import InCall, Queued
from matchmaker.lobby import Standing
from matchmaker.ports import CallStage, Entered, Put
from matchmaker.ticket import Ticket
from tests.integration.matchmaker.claimed_by_hand import CALL, PHONE, claim
from tests.integration.matchmaker.scene import ANN, Scene


async def test_a_ticket_that_is_all_there_is_left_alone(scene: Scene) -> None:
    """No event is made of it."""
    joined = await scene.join("ann")
    number = (await scene.queues.take_lease("friends", "test", ttl_ms=100)).number

    assert await scene.lobby.verify(joined.ticket) is Standing.WAITING
    assert (await scene.queues.take_lease("friends", "test", ttl_ms=100)).number == number


@pytest.mark.parametrize("lost", ["ticket", "slot", "both"])
async def test_what_redis_lost_is_put_back_at_its_place(scene: Scene, lost: str) -> None:
    """Ticket, slot, or both."""
    joined = await scene.join("ann")
    if lost != "slot":
        await scene.redis.delete(scene.keys.tickets("friends"))
    if lost != "ticket":
        await scene.redis.delete(scene.keys.user(ANN))
    standing = await scene.lobby.verify(joined.ticket)
    slot = await scene.activities.read(ANN)
    (stored,) = await scene.queues.scan("friends")

    assert standing is (Standing.WAITING if lost == "slot" else Standing.RESTORED)
    assert stored.ticket == joined.ticket
    assert (slot.activity, slot.queued_at) == (Queued("friends", joined.ticket_id), joined.queued_at)


async def test_a_paused_ticket_of_an_attached_user_wakes(scene: Scene) -> None:
    """The owner took the user's node for dead; it is not."""
    joined = await scene.join("ann")
    await scene.lobby.pause(joined.ticket)

    assert await scene.lobby.verify(joined.ticket) is Standing.WAITING
    assert (await scene.depth())["waiting"] == 1


async def test_a_ticket_that_was_replaced_is_not_put_back(scene: Scene) -> None:
    """The user queued anew elsewhere; this one is over."""
    first = await scene.join("ann")
    await scene.lobby.leave(ANN, PHONE)
    await scene.join("ann", device="laptop")

    assert await scene.lobby.verify(first.ticket) is Standing.LEFT
    assert (await scene.depth())["waiting"] == 1


async def test_a_ticket_whose_user_is_in_a_call_is_not_put_back(scene: Scene) -> None:
    """As long as the call is one; a pointer left over beside a waiting ticket is repaired."""
    joined = await scene.join("ann")
    await scene.redis.hset(scene.keys.user(ANN), "activity", str(InCall(CALL)))
    scene.calls.set(CALL, CallStage.LIVE)
    assert await scene.lobby.verify(joined.ticket) is Standing.LEFT
    scene.calls.set(CALL, CallStage.ENDED)

    assert await scene.lobby.verify(joined.ticket) is Standing.WAITING
    assert (await scene.activities.read(ANN)).activity == Queued("friends", joined.ticket_id)


async def test_a_ticket_whose_user_has_just_entered_the_call_of_its_match_is_not_lost(scene: Scene) -> None:
    """The slot names the call a moment before the hub does; nobody is told that their place is gone."""
    joined, bob = await scene.join("ann"), await scene.join("bob")
    match = await claim(scene, joined, bob)
    scene.calls.set(CALL, CallStage.SETTING_UP)
    assert await scene.lobby.accept_match(match, "a") is Entered.ENTERED

    assert await scene.lobby.verify(joined.ticket) is Standing.MATCHED
    assert (await scene.activities.read(ANN)).activity == InCall(CALL)


def hold_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every put reaches the pool six seconds after its issue, by the pool's clock."""
    real = scene.queues.put

    async def late(ticket: Ticket, *, issued_at: int, create: bool = True, paused: bool = False) -> Put:
        return await real(ticket, issued_at=issued_at - 6_000, create=create, paused=paused)

    monkeypatch.setattr(scene.queues, "put", late)


async def test_a_pool_that_answers_too_late_frees_the_slot(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told to try again, and may."""
    hold_up(scene, monkeypatch)
    with pytest.raises(Unavailable):
        await scene.join("ann")

    assert (await scene.activities.read(ANN)).activity is None


async def test_a_check_that_was_held_up_puts_nothing_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user may have left since; the next check comes soon."""
    joined = await scene.join("ann")
    await scene.redis.delete(scene.keys.tickets("friends"))
    hold_up(scene, monkeypatch)
    with pytest.raises(Unavailable):
        await scene.lobby.verify(joined.ticket)

    assert await scene.queues.scan("friends") == []


async def test_a_check_in_the_middle_of_leaving_leaves_no_place_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticket is gone and the slot names it still: the check takes it for lost, and its user does not wait for anybody."""
    joined = await scene.join("ann")
    leave = scene.activities.leave

    async def checked_first(*args: Any, **options: Any) -> bool:
        assert await scene.lobby.verify(joined.ticket) is Standing.RESTORED
        return await leave(*args, **options)

    monkeypatch.setattr(scene.activities, "leave", checked_first)
    assert await scene.lobby.leave(ANN, PHONE) == joined.ticket_id

    assert (await scene.activities.read(ANN)).activity is None
    assert await scene.queues.scan("friends") == []


async def test_whoever_leaves_while_a_place_is_put_back_leaves_none(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check has seen that the user waits; by the time it puts back the ticket, both are gone."""
    joined = await scene.join("ann")
    real = scene.queues.put

    async def overtaken(ticket: Ticket, **options: Any) -> Put:
        await scene.lobby.leave(ANN, PHONE)
        return await real(ticket, **options)

    monkeypatch.setattr(scene.queues, "put", overtaken)

    assert await scene.lobby.verify(joined.ticket) is Standing.LEFT
    assert await scene.depth() == {"waiting": 0, "paused": 0, "matched": 0}
    assert (await scene.activities.read(ANN)).activity is None
