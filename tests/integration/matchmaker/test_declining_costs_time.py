"""Whoever declines again and again waits before the next try; whoever talks does not."""

import pytest

from base.errors import ErrorCode, MinuetError
from base.ids import CallId
from base.policy import Gender
from matchmaker.activity import Queued
from matchmaker.lobby import Standing
from matchmaker.matches import SEATS
from matchmaker.ports import Declined
from tests.integration.matchmaker.claimed_by_hand import CALL, claim, matched
from tests.integration.matchmaker.scene import ANN, Scene
from tests.unit.matchmaker.people import Somebody


async def decline(scene: Scene, number: int) -> None:
    """Ann is matched with somebody, and declines."""
    ann, other = await scene.join("ann"), await scene.join(f"bob-{number}")
    call_id = CallId(f"01a1fd75-8e9d-7439-b49c-6924f0c6e6{number:02}")
    match = await claim(scene, ann, other, call_id)
    seat = "a" if match.a.user_id == ANN else "b"
    await scene.lobby.accept_match(match, seat)
    await scene.lobby.release(match.ref(seat), returns=False, declined=True)
    # The same step again, by whoever repeats it: one decline is one.
    await scene.lobby.release(match.ref(seat), returns=False, declined=True)


async def test_repeated_declines_cost_a_growing_pause(scene: Scene) -> None:
    """Two are free, the third costs 15 s and the fourth a minute; the client hears how long."""
    for number in range(3):
        await decline(scene, number)
    with pytest.raises(MinuetError) as third:
        await scene.join("ann")
    await scene.redis.hset(scene.keys.user(ANN), "may_queue_at", 0)
    await decline(scene, 3)
    with pytest.raises(MinuetError) as fourth:
        await scene.join("ann", intent="dating", person=Somebody(gender=Gender.FEMALE))

    assert third.value.code is fourth.value.code is ErrorCode.COOLDOWN
    assert 10_000 < (third.value.retry_after_ms or 0) <= 15_000
    assert 55_000 < (fourth.value.retry_after_ms or 0) <= 60_000
    assert (await scene.activities.read(ANN)).activity is None


async def test_declines_of_long_ago_count_for_nothing(scene: Scene) -> None:
    """An hour after the last one, the next is the first again."""
    for number in range(2):
        await decline(scene, number)
    count, until, call = (await scene.redis.hget(scene.keys.user(ANN), "declines")).split()
    await scene.redis.hset(
        scene.keys.user(ANN), "declines", b"%s %d %s" % (count, int(until) - 3_600_001, call)
    )
    await decline(scene, 2)

    assert (await scene.join("ann")).ticket.user_id == ANN


async def test_a_decline_counts_also_when_the_slot_is_quicker(scene: Scene) -> None:
    """Ann is found idle and queued anew before her decline is written down; it is told twice, and counts once."""
    match = await matched(scene)
    ref = next(match.ref(seat) for seat in SEATS if match.ref(seat).user_id == ANN)
    await scene.activities.leave(ANN, Queued(match.intent, ref.ticket_id))
    cost = Declined(pauses_s=(0, 15), counts_s=60)
    for _ in range(2):
        assert not await scene.activities.free(ref, apart_s=0, declined=cost)

    count, _, call = (await scene.redis.hget(scene.keys.user(ANN), "declines")).split()

    assert (count, call) == (b"1", f"call:{match.call_id}".encode())


async def test_what_declining_costs_is_forgotten_when_it_is_over(scene: Scene) -> None:
    """The next join finds it, and leaves nothing of it."""
    await scene.redis.hset(
        scene.keys.user(ANN),
        mapping={"declines": b"4 1700000000000 call:x", "may_queue_at": b"1700000000000"},
    )
    await scene.join("ann")

    assert await scene.redis.hmget(scene.keys.user(ANN), ["declines", "may_queue_at"]) == [None, None]


async def test_a_call_in_which_they_talked_forgives_declines(scene: Scene) -> None:
    """Whoever takes part is not punished for choosing."""
    for number in range(2):
        await decline(scene, number)
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    await scene.lobby.went_live(match.ref("a"))
    await scene.lobby.free(ANN, CALL)
    await decline(scene, 3)

    assert (await scene.join("ann")).ticket.user_id == ANN


async def test_who_is_put_back_is_not_held_up(scene: Scene) -> None:
    """A pause is for those who begin anew: a ticket that was lost on the server's side comes back at once."""
    ann = await scene.join("ann")
    await scene.redis.hset(scene.keys.user(ANN), "may_queue_at", 10**15)
    await scene.queues.leave("friends", ann.ticket_id)
    await scene.activities.leave(ANN, Queued("friends", ann.ticket_id))

    assert await scene.lobby.verify(ann.ticket) is Standing.RESTORED
