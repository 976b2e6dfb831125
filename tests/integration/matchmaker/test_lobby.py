"""How people come into a queue, leave it, and get from a match to a call or back."""

import asyncio
from typing import Any

import msgspec
import pytest

from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, DeviceId, NodeId, SessionId, UserId
from base.policy import Gender
from matchmaker.activity import InCall, Queued
from matchmaker.lobby import Joined, Standing
from matchmaker.matches import SEATS, Match, Progress, seated
from matchmaker.ports import Caller, CallStage, Declined, Entered, Left, Put, TicketState
from matchmaker.ticket import Preferences, Ticket
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import Somebody

ANN, BOB = UserId("ann"), UserId("bob")
PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")
CALL = CallId("01a1fd75-8e9d-7439-b49c-6924f0c6e611")


async def matched(scene: Scene, call_id: CallId = CALL) -> Match:
    """Ann and Bob, claimed by hand for a call that does not exist yet."""
    ann, bob = await scene.join("ann"), await scene.join("bob")
    return await claim(scene, ann, bob, call_id)


async def claim(scene: Scene, ann: Joined, bob: Joined, call_id: CallId = CALL) -> Match:
    match = Match(
        call_id=call_id, intent="friends", claimed_at_ms=0, a=seated(ann.ticket), b=seated(bob.ticket)
    )
    lease = await scene.queues.take_lease("friends", "test", ttl_ms=5_000)
    reply = await scene.queues.claim("friends", lease.token, [match])
    assert reply.claims[0].lost == frozenset()
    return msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)


async def refusal(attempt: object) -> ErrorCode:
    with pytest.raises(MinuetError) as refused:
        await attempt
    return refused.value.code


# --- joining -----------------------------------------------------------------------------------------------------


async def test_a_ticket_says_what_the_server_knows(scene: Scene) -> None:
    """Attributes come from the person, wishes from the preferences, exclusions from the user's own keys."""
    await scene.redis.sadd(scene.keys.blocks(ANN), "carl")
    person = Somebody("Ann", Gender.FEMALE, 41, ("de", "en"), "eu", verified=True)
    wishes = Preferences(sides=(Gender.MALE,), age_min=35, age_max=50, regions=("eu",))
    joined = await scene.join("ann", intent="dating", person=person, preferences=wishes)
    (stored,) = await scene.queues.scan("dating")

    assert not joined.already
    assert stored.ticket == joined.ticket
    ticket = joined.ticket
    assert (ticket.first_name, ticket.side, ticket.age, ticket.region) == ("Ann", Gender.FEMALE, 41, "eu")
    assert (ticket.languages, ticket.verified, ticket.exclusions) == ({"de", "en"}, True, {"carl"})
    assert (ticket.wants.sides, ticket.wants.age_min, ticket.wants.regions) == ({Gender.MALE}, 35, {"eu"})
    assert ticket.wants.languages == {"de", "en"}


async def test_joining_twice_gives_the_same_ticket(scene: Scene) -> None:
    """With the place of the first and the wishes of the second; it follows the device to a new session."""
    first = await scene.join("ann")
    second = await scene.join("ann", node=NodeId("node-2"), preferences=Preferences(age_min=25))
    (stored,) = await scene.queues.scan("friends")

    assert second.already
    assert (second.ticket_id, second.queued_at) == (first.ticket_id, first.queued_at)
    assert (stored.ticket.node_id, stored.ticket.wants.age_min) == ("node-2", 25)


async def test_many_joins_at_once_make_one_ticket(scene: Scene) -> None:
    """Impatient clients repeat themselves."""
    answers = await asyncio.gather(*(scene.join("ann") for _ in range(8)))

    assert len({joined.ticket_id for joined in answers}) == 1
    assert sum(not joined.already for joined in answers) == 1
    assert len(await scene.queues.scan("friends")) == 1


async def test_an_unknown_intent_is_refused(scene: Scene) -> None:
    """Before anything is touched."""
    assert await refusal(scene.join("ann", intent="chess")) is ErrorCode.UNKNOWN_INTENT
    assert (await scene.activities.read(ANN)).activity is None


async def test_a_wish_that_leaves_nobody_is_refused(scene: Scene) -> None:
    """The slot stays free."""
    ann, wishes = Somebody(gender=Gender.FEMALE), Preferences(sides=(Gender.FEMALE,))

    assert (
        await refusal(scene.join("ann", intent="dating", person=ann, preferences=wishes))
        is ErrorCode.INVALID_MESSAGE
    )
    assert (await scene.activities.read(ANN)).activity is None


async def test_joining_another_intent_leaves_the_first(scene: Scene) -> None:
    """One live ticket per user."""
    first = await scene.join("ann")
    second = await scene.join("ann", intent="dating")

    assert await scene.queues.state("friends", first.ticket_id) is TicketState.ABSENT
    assert (await scene.activities.read(ANN)).activity == Queued("dating", second.ticket_id)


async def test_another_device_cannot_queue_beside_the_first(scene: Scene) -> None:
    """Whatever the intent; the ticket belongs to the device that joined."""
    await scene.join("ann")

    for intent in ("friends", "dating"):
        assert await refusal(scene.join("ann", intent=intent, device="laptop")) is ErrorCode.WRONG_DEVICE


async def test_a_ticket_that_is_gone_binds_nobody(scene: Scene) -> None:
    """The other device's ticket was dropped and its slot not cleared: a pointer is checked before it refuses."""
    first = await scene.join("ann")
    await scene.queues.leave("friends", first.ticket_id)
    await scene.redis.hset(scene.keys.user(ANN), "queued_at", first.queued_at - 6_000)
    second = await scene.join("ann", device="laptop")

    assert not second.already
    assert second.ticket_id != first.ticket_id


async def test_a_join_that_is_on_its_way_is_not_taken_for_gone(scene: Scene) -> None:
    """Between slot and pool the ticket is missing for a moment."""
    first = await scene.join("ann")
    await scene.queues.leave("friends", first.ticket_id)

    assert await refusal(scene.join("ann", device="laptop")) is ErrorCode.WRONG_DEVICE


async def test_a_join_that_broke_off_in_the_middle_is_completed_by_the_next(scene: Scene) -> None:
    """The slot names a ticket that never reached the pool; it gets there with its seniority."""
    await scene.activities.join(ANN, Caller(PHONE), Queued("friends", "ticket-1"), queued_at=1_000)
    joined = await scene.join("ann")
    (stored,) = await scene.queues.scan("friends")

    assert joined.already
    assert (stored.ticket.ticket_id, stored.ticket.queued_at) == ("ticket-1", 1_000)


@pytest.mark.parametrize("stage", [CallStage.SETTING_UP, CallStage.LIVE])
async def test_who_is_in_a_call_does_not_queue(scene: Scene, stage: CallStage) -> None:
    """After looking whether the call is one."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    scene.calls.set(CALL, stage)

    assert await refusal(scene.join("ann")) is ErrorCode.IN_CALL


@pytest.mark.parametrize("stage", [CallStage.ABSENT, CallStage.ENDED])
async def test_a_call_that_is_over_keeps_nobody(scene: Scene, stage: CallStage) -> None:
    """A pointer that was left over is repaired."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    scene.calls.set(CALL, stage)
    joined = await scene.join("ann")

    assert joined.ticket_id != match.a.ticket_id
    assert (await scene.activities.read(ANN)).activity == Queued("friends", joined.ticket_id)


async def test_joining_while_being_matched_waits_for_the_match(scene: Scene) -> None:
    """The same intent: the ticket that is matched; another: refused, since the match stands."""
    match = await matched(scene)

    assert (await scene.join("ann")).ticket_id == match.a.ticket_id
    assert await refusal(scene.join("ann", intent="dating")) is ErrorCode.ALREADY_MATCHED
    assert await scene.queues.state("friends", match.a.ticket_id) is TicketState.MATCHED


# --- leaving, pausing --------------------------------------------------------------------------------------------


async def test_leaving_ends_the_wait(scene: Scene) -> None:
    """Again: there is nothing to leave."""
    joined = await scene.join("ann")

    assert await scene.lobby.leave(ANN, PHONE) == joined.ticket_id
    assert await scene.lobby.leave(ANN, PHONE) is None
    assert await scene.depth() == {"waiting": 0, "paused": 0, "matched": 0}
    assert (await scene.activities.read(ANN)).activity is None


async def test_a_device_leaves_only_for_itself(scene: Scene) -> None:
    """A moderator, who names none, ends any wait."""
    await scene.join("ann")

    assert await refusal(scene.lobby.leave(ANN, LAPTOP)) is ErrorCode.WRONG_DEVICE
    assert await scene.lobby.leave(ANN, None) is not None


async def test_a_matched_ticket_does_not_leave(scene: Scene) -> None:
    """Neither before nor after its hub moved the user into the call."""
    match = await matched(scene)
    assert await refusal(scene.lobby.leave(ANN, PHONE)) is ErrorCode.ALREADY_MATCHED
    scene.calls.set(CALL, CallStage.SETTING_UP)
    await scene.lobby.accept_match(match, "a")

    assert await refusal(scene.lobby.leave(ANN, PHONE)) is ErrorCode.ALREADY_MATCHED


async def test_leaving_after_a_call_clears_what_is_left_of_it(scene: Scene) -> None:
    """A session's end always asks; a stale pointer goes."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    scene.calls.set(CALL, CallStage.ENDED)

    assert await scene.lobby.leave(ANN, PHONE) is None
    assert (await scene.activities.read(ANN)).activity is None


async def test_a_pause_keeps_the_place(scene: Scene) -> None:
    """Resuming on another node takes the ticket there."""
    joined = await scene.join("ann")
    assert await scene.lobby.pause(joined.ticket) is Standing.PAUSED
    moved = msgspec.structs.replace(
        joined.ticket, node_id=NodeId("node-2"), session_id=SessionId("session-2")
    )

    assert await scene.lobby.resume(moved) is Standing.WAITING
    (stored,) = await scene.queues.scan("friends")
    assert (stored.state, stored.ticket) == (TicketState.WAITING, moved)


async def test_resuming_what_was_dropped_says_so(scene: Scene) -> None:
    """It is not brought back, and the slot is free."""
    joined = await scene.join("ann")
    await scene.queues.leave("friends", joined.ticket_id)

    assert await scene.lobby.resume(joined.ticket) is Standing.LEFT
    assert (await scene.activities.read(ANN)).activity is None


async def test_pausing_and_resuming_leave_a_match_alone(scene: Scene) -> None:
    """The hub hears that it is one."""
    match = await matched(scene)
    (stored, _) = sorted(await scene.queues.scan("friends"), key=lambda each: each.ticket.user_id)

    assert stored.ticket.ticket_id == match.a.ticket_id
    assert await scene.lobby.pause(stored.ticket) is Standing.MATCHED
    assert await scene.lobby.resume(stored.ticket) is Standing.MATCHED


# --- looking after -----------------------------------------------------------------------------------------------


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


# --- from match to call, and back --------------------------------------------------------------------------------


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


# --- declining ---------------------------------------------------------------------------------------------------


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


async def test_a_priority_is_the_policys_and_patience_the_clients(scene: Scene) -> None:
    """The highest that applies counts; the end of patience is on the clock of the store."""
    policy = msgspec.structs.replace(scene.policies["friends"], priority_s={"verified": 5, "admin": 60})
    scene.policies["friends"] = policy
    plain = await scene.join("ann")
    sure = await scene.join("bob", person=Somebody(verified=True), preferences=Preferences(patience_s=30))
    admin = await scene.join("eve", person=Somebody(verified=True, role="admin"))

    assert [each.ticket.ahead_ms for each in (plain, sure, admin)] == [0, 5_000, 60_000]
    assert [plain.ticket.leaves_at, sure.ticket.leaves_at] == [0, sure.queued_at + 30_000]


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
