"""What the owner of a pool does for those who wait there, and what it tells of them."""

import asyncio
import time

import msgspec
import pytest

from base.ids import NodeId
from base.policy import Gender
from matchmaker.lobby import Standing
from matchmaker.outlook import Outlook
from matchmaker.ports import TicketState
from matchmaker.scoring import Rule
from matchmaker.ticket import Preferences
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import ANN, BOB, NODE, Scene
from tests.integration.matchmaker.watched_pools import HER, HIM, is_idle, pair_up, stands


@pytest.mark.usefixtures("matchmaker")
async def test_what_is_counted(scene: Scene) -> None:
    """Matches, waits, latency, and the depth of the pool as its owner knows it."""
    await pair_up(scene)
    await scene.join("eve", person=HER)
    value = scene.registry.get_sample_value
    await until(lambda: value("minuet_queue_tickets", {"intent": "friends", "side": "female"}) == 1)

    assert value("minuet_pool_owner", {"intent": "friends"}) == 1
    assert value("minuet_matches_total", {"intent": "friends", "outcome": "claimed"}) == 1
    waits = [
        value("minuet_match_wait_seconds_count", {"intent": "friends", "side": "other", "tier": str(tier)})
        for tier in range(4)
    ]
    assert sum(count or 0 for count in waits) == 2
    assert value("minuet_arrival_to_announced_seconds_count", {"intent": "friends"}) == 1
    assert (value("minuet_pool_epoch", {"intent": "friends"}) or 0) > 0
    assert value("minuet_arrival_to_claim_seconds_count", {"intent": "friends"}) == 1


@pytest.mark.usefixtures("matchmaker")
async def test_tickets_of_a_dead_node_are_paused_and_wake_when_their_users_are_elsewhere(
    scene: Scene,
) -> None:
    """Nobody is matched with somebody who cannot answer; the place is kept."""
    scene.nodes.alive = {NODE, NodeId("node-2")}
    # Among friends a pause is over after a second.
    ann = await scene.join("ann", node=NodeId("node-2"), intent="dating", person=HER)
    await asyncio.sleep(1.2)
    scene.nodes.alive = {NODE}
    await until(lambda: stands(scene, ann.ticket_id, TicketState.PAUSED, "dating"))
    await scene.join("bob", intent="dating", person=HIM)
    assert scene.announcer.matches == []
    moved = msgspec.structs.replace(ann.ticket, node_id=NODE)

    assert await scene.lobby.verify(moved) is Standing.WAITING
    assert (await scene.announcer.next())[0].a.user_id == ANN


@pytest.mark.usefixtures("matchmaker")
async def test_a_ticket_that_is_paused_for_too_long_is_dropped_with_its_slot(scene: Scene) -> None:
    """The policy of this test waits one second."""
    ann = await scene.join("ann")
    began = time.monotonic()
    await scene.lobby.pause(ann.ticket)

    await until(lambda: is_idle(scene, ANN))
    assert time.monotonic() - began > 0.95
    assert await scene.queues.state("friends", ann.ticket_id) is TicketState.ABSENT


@pytest.mark.usefixtures("matchmaker")
async def test_what_was_read_is_trimmed(scene: Scene) -> None:
    """The stream does not keep what its only reader has seen."""
    for number in range(150):
        joined = await scene.join(f"user-{number}")
        await scene.lobby.leave(joined.ticket.user_id, joined.ticket.device_id)

    async def is_short() -> bool:
        return await scene.redis.xlen(scene.keys.arrivals("friends")) <= 200

    await until(is_short)


@pytest.mark.usefixtures("matchmaker")
async def test_the_owner_says_how_it_looks_in_its_pool(scene: Scene) -> None:
    """Who waits and since when, how fast people are matched, and why not."""
    for name in ("ann", "bob"):
        await scene.join(name, intent="dating")
    await scene.announcer.next()
    wishes = Preferences(age_min=70, age_max=80)
    joined = [await scene.join(f"user-{number}", intent="dating", preferences=wishes) for number in range(40)]

    outlook: Outlook | None = None

    async def told() -> bool:
        nonlocal outlook
        outlook = await scene.queues.outlook("dating")
        if outlook is None or outlook.sides[Gender.OTHER].waiting != 40 or not outlook.rejections:
            return False
        # Counted at once, and said some seconds later.
        counted = {"intent": "dating", "rule": "age"}
        return scene.registry.get_sample_value("minuet_match_rejections_total", counted) == sum(
            outlook.rejections.values()
        )

    await until(told, timeout_s=60)

    assert outlook is not None
    side = outlook.sides[Gender.OTHER]
    assert side.marks[0] == (0, joined[0].queued_at)
    assert side.matched_per_s > 0
    assert set(outlook.rejections) == {Rule.AGE}
    waits = {
        gender: scene.registry.get_sample_value(
            "minuet_queue_oldest_seconds", {"intent": "dating", "side": gender.value}
        )
        for gender in Gender
    }
    oldest_s = waits.pop(Gender.OTHER)
    assert oldest_s is not None
    assert 0 < oldest_s < 120
    assert set(waits.values()) == {0}


@pytest.mark.usefixtures("matchmaker")
async def test_who_had_enough_is_let_go(scene: Scene) -> None:
    """The person said for how long: then the ticket is gone, and the slot is free."""
    patient = await scene.join("ann", intent="dating", preferences=Preferences(age_min=70))
    await scene.join("bob", intent="dating", preferences=Preferences(age_min=70, patience_s=1))

    await until(lambda: is_idle(scene, BOB), timeout_s=30)
    assert await scene.queues.state("dating", patient.ticket_id) is TicketState.WAITING
