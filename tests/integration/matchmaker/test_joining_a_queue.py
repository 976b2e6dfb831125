"""How people come into a queue: with what ticket, beside what else they do, and who is refused."""

import asyncio

import msgspec
import pytest

from base.errors import ErrorCode
from base.ids import NodeId
from base.policy import Gender
from matchmaker.activity import Queued
from matchmaker.ports import Caller, CallStage, TicketState
from matchmaker.ticket import Preferences
from tests.integration.matchmaker.claimed_by_hand import CALL, PHONE, matched, refusal
from tests.integration.matchmaker.scene import ANN, Scene
from tests.unit.matchmaker.people import Somebody


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


async def test_a_priority_is_the_policys_and_patience_the_clients(scene: Scene) -> None:
    """The highest that applies counts; the end of patience is on the clock of the store."""
    policy = msgspec.structs.replace(scene.policies["friends"], priority_s={"verified": 5, "admin": 60})
    scene.policies["friends"] = policy
    plain = await scene.join("ann")
    sure = await scene.join("bob", person=Somebody(verified=True), preferences=Preferences(patience_s=30))
    admin = await scene.join("eve", person=Somebody(verified=True, role="admin"))

    assert [each.ticket.ahead_ms for each in (plain, sure, admin)] == [0, 5_000, 60_000]
    assert [plain.ticket.leaves_at, sure.ticket.leaves_at] == [0, sure.queued_at + 30_000]
