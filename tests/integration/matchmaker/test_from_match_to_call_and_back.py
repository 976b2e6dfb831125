"""How two who were matched come into their call, or back to their places."""

from typing import Any

import pytest

from matchmaker.activity import InCall, Queued
from matchmaker.matches import Progress
from matchmaker.ports import CallStage, Entered, Left, TicketState
from tests.integration.matchmaker.claimed_by_hand import CALL, PHONE, matched
from tests.integration.matchmaker.scene import ANN, BOB, Scene


async def test_a_match_that_goes_live_is_used_up(scene: Scene) -> None:
    """Both slots name the call, pool and matches are empty, and the two do not meet again for a while."""
    match = await matched(scene)
    assert await scene.lobby.accept_match(match, "a") is Entered.ENTERED
    assert await scene.lobby.accept_match(match, "b") is Entered.ENTERED
    await scene.lobby.went_live(match.ref("b"))
    await scene.lobby.went_live(match.ref("a"))

    assert await scene.queues.scan("friends") == []
    assert await scene.queues.matches("friends") == []
    for user in (ANN, BOB):
        assert (await scene.activities.read(user)).activity == InCall(CALL)
    assert (
        scene.registry.get_sample_value("minuet_matches_total", {"intent": "friends", "outcome": "live"}) == 1
    )

    assert await scene.lobby.free(ANN, CALL)
    assert not await scene.lobby.free(ANN, CALL)
    assert (await scene.join("ann")).ticket.exclusions == {BOB}


async def test_after_a_decline_the_other_goes_back_to_the_old_place(scene: Scene) -> None:
    """The decliner is idle, the match is gone, and the two are kept apart, both ways."""
    match = await matched(scene)
    for seat in ("a", "b"):
        await scene.lobby.accept_match(match, seat)

    assert not await scene.lobby.release(match.ref("a"), returns=False)
    assert await scene.lobby.release(match.ref("b"), returns=True)
    slot = await scene.activities.read(BOB)
    (stored,) = await scene.queues.scan("friends")
    assert (slot.activity, slot.queued_at) == (Queued("friends", match.b.ticket_id), match.b.queued_at)
    assert (stored.ticket.user_id, stored.ticket.queued_at, stored.ticket.exclusions) == (
        BOB,
        match.b.queued_at,
        {ANN},
    )
    assert await scene.queues.matches("friends") == []
    assert (await scene.activities.read(ANN)).activity is None
    assert (await scene.join("ann")).ticket.exclusions == {BOB}


async def test_releasing_twice_is_releasing_once(scene: Scene) -> None:
    """Hub and owner may both do it, with the same verdict or, by a crash between, with another."""
    match = await matched(scene)
    for _ in range(2):
        await scene.lobby.release(match.ref("a"), returns=True)
        await scene.lobby.release(match.ref("b"), returns=False)
    await scene.lobby.release(match.ref("a"), returns=False)

    assert (await scene.activities.read(ANN)).activity == Queued("friends", match.a.ticket_id)
    assert await scene.depth() == {"waiting": 1, "paused": 0, "matched": 0}


async def test_a_block_during_the_match_lets_nobody_meet_and_both_wait_on(scene: Scene) -> None:
    """Bob blocked Ann from elsewhere, after they queued."""
    match = await matched(scene)
    await scene.redis.sadd(scene.keys.blocks(BOB), ANN)
    assert await scene.lobby.accept_match(match, "a") is Entered.ENTERED
    assert await scene.lobby.accept_match(match, "b") is Entered.BLOCKED
    (record,) = await scene.queues.matches("friends")
    assert record.seats_at(Progress.ANNOUNCED) == ("b",)
    for seat in ("a", "b"):
        assert await scene.lobby.release(match.ref(seat), returns=True)
    tickets = {each.ticket.user_id: each.ticket for each in await scene.queues.scan("friends")}

    assert tickets[ANN].exclusions == {BOB}
    assert tickets[BOB].exclusions == {ANN}
    assert (await scene.depth())["waiting"] == 2


async def test_who_is_gone_when_matched_loses_the_ticket_and_the_other_waits_on(scene: Scene) -> None:
    """Ann's slot was cleared while her ticket was being claimed."""
    match = await matched(scene)
    await scene.activities.leave(ANN, Queued("friends", match.a.ticket_id))

    assert await scene.lobby.accept_match(match, "a") is Entered.GONE
    await scene.lobby.release(match.ref("a"), returns=False)
    assert await scene.lobby.release(match.ref("b"), returns=True)
    assert await scene.depth() == {"waiting": 1, "paused": 0, "matched": 0}


async def test_who_does_something_else_by_now_does_not_go_back(scene: Scene) -> None:
    """The old ticket is removed; the new one is not touched."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    scene.calls.set(CALL, CallStage.ENDED, returns="a")
    new = await scene.join("ann")

    assert not await scene.lobby.release(match.ref("a"), returns=True)
    assert await scene.queues.state("friends", match.a.ticket_id) is TicketState.ABSENT
    assert await scene.queues.state("friends", new.ticket_id) is TicketState.WAITING


async def test_a_late_announcement_does_not_take_a_returned_user_back_into_the_old_call(scene: Scene) -> None:
    """The ticket keeps its id when it returns, so its slot remembers where it came from."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "b")
    await scene.lobby.release(match.ref("b"), returns=True)

    assert await scene.lobby.accept_match(match, "b") is Entered.GONE
    assert await scene.queues.leave("friends", match.b.ticket_id) is Left.LEFT


async def test_who_leaves_while_being_put_back_after_a_call_leaves_no_place_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool's owner brings a ticket back too, and is quicker: it is left before its hub has come to the pool."""
    match = await matched(scene)
    for seat in ("a", "b"):
        await scene.lobby.accept_match(match, seat)
    [ticket] = [each.ticket for each in await scene.queues.scan("friends") if each.ticket.user_id == BOB]
    resolve = scene.queues.resolve

    async def overtaken(ref: Any, **options: Any) -> Any:
        monkeypatch.setattr(scene.queues, "resolve", resolve)
        assert await scene.lobby.release(match.ref("b"), returns=True)
        await scene.lobby.leave(BOB, PHONE)
        return await resolve(ref, **options)

    monkeypatch.setattr(scene.queues, "resolve", overtaken)
    assert not await scene.lobby.release(match.ref("b"), returns=True, ticket=ticket)

    assert BOB not in {each.ticket.user_id for each in await scene.queues.scan("friends")}


@pytest.mark.parametrize("paused", [False, True])
async def test_whoever_returns_to_a_pool_that_has_lost_the_place_has_it_again(
    scene: Scene, paused: bool
) -> None:
    """At once, and still apart from the one with whom it came to nothing; only once, however often it is told."""
    match = await matched(scene)
    tickets = {each.ticket.user_id: each.ticket for each in await scene.queues.scan("friends")}
    for seat in ("a", "b"):
        await scene.lobby.accept_match(match, seat)
    await scene.redis.delete(*(await scene.redis.keys("*{q:friends}*")))
    for _ in range(2):
        returned = await scene.lobby.release(match.ref("b"), returns=True, paused=paused, ticket=tickets[BOB])
        assert returned
    (stored,) = await scene.queues.scan("friends")

    assert (stored.ticket.ticket_id, stored.ticket.queued_at) == (match.b.ticket_id, match.b.queued_at)
    assert stored.ticket.exclusions == {ANN}
    assert stored.state is (TicketState.PAUSED if paused else TicketState.WAITING)
