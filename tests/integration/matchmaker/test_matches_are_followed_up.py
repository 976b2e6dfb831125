"""What the owner of a pool does for a match until its call has it: announce, review, resolve."""

import asyncio

import pytest

from base.errors import Unavailable
from base.ids import CallId
from matchmaker.activity import InCall, Queued
from matchmaker.matches import Match, seated
from matchmaker.ports import CallStage
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import ANN, BOB, NODE, Scene, running
from tests.integration.matchmaker.watched_pools import age, is_in_call, knows_all, no_matches, pair_up


@pytest.mark.usefixtures("matchmaker")
async def test_a_match_nobody_acknowledged_is_announced_again_where_the_sessions_are_now(
    scene: Scene,
) -> None:
    """After half a second; Ann has moved to another node meanwhile."""
    match = await pair_up(scene)
    await scene.redis.hset(scene.keys.user(ANN), "session:phone", "node-2 session-2 5")
    await scene.lobby.accept_match(match, "b" if match.a.user_id == ANN else "a")
    known = len(scene.announcer.matches)
    # One may be under way that looked before she moved.
    await until(lambda: len(scene.announcer.matches) > known + 1)
    again = scene.announcer.matches[-1]
    places = {side.user_id: (side.node_id, side.session_id) for side in (again.a, again.b)}

    assert again.call_id == match.call_id
    assert places == {ANN: ("node-2", "session-2"), BOB: (NODE, "session-bob-phone")}


async def test_a_match_its_owner_did_not_live_to_announce_is_announced_by_the_next(scene: Scene) -> None:
    """Claimed, and then the process was gone."""
    ann, bob = await scene.join("ann"), await scene.join("bob")
    call_id = CallId(scene.ids.new())
    match = Match(
        call_id=call_id, intent="friends", claimed_at_ms=0, a=seated(ann.ticket), b=seated(bob.ticket)
    )
    lease = await scene.queues.take_lease("friends", "gone", ttl_ms=60_000)
    await scene.queues.claim("friends", lease.token, [match])
    await scene.redis.delete(scene.keys.pool_owner("friends"))  # as if the lease had run out
    async with running(scene):
        (heard, *_) = await scene.announcer.next()

    assert heard.call_id == call_id


@pytest.mark.usefixtures("matchmaker")
async def test_pairing_goes_on_while_calls_and_nodes_are_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster a part may be away while the pool is not; the review is done when it is back."""
    outcomes: list[bool] = []

    async def away(*_: object) -> None:
        outcomes.append(True)
        raise Unavailable("a part is away")

    with monkeypatch.context() as broken:
        broken.setattr(scene.calls, "stage", away)
        broken.setattr(scene.nodes, "living", away)
        match = await pair_up(scene)
        scene.calls.set(match.call_id, CallStage.LIVE)
        await age(scene, match, 3)
        await until(lambda: len(outcomes) > 3)
        await scene.join("carl")
        await scene.join("dora")
        await scene.announcer.next(2)
        assert scene.registry.get_sample_value("minuet_pool_takeovers_total", {"intent": "friends"}) == 1

    await until(lambda: is_in_call(scene, ANN, match.call_id))


@pytest.mark.usefixtures("matchmaker")
async def test_an_acknowledged_match_is_announced_once(scene: Scene) -> None:
    """Both hubs know; a second later nothing more was said."""
    match = await pair_up(scene)
    for seat in ("a", "b"):
        await scene.lobby.accept_match(match, seat)
    # What was decided before both knew may still be said.
    await asyncio.sleep(0.5)
    said = len(scene.announcer.matches)
    await asyncio.sleep(1)

    assert len(scene.announcer.matches) == said
    assert len(scene.announcer.different) == 1


@pytest.mark.usefixtures("matchmaker")
async def test_the_owner_enters_the_call_for_a_silent_node(scene: Scene) -> None:
    """The call exists; after 2 s Bob's slot names it, whatever his node does."""
    match = await pair_up(scene)
    scene.calls.set(match.call_id, CallStage.SETTING_UP)
    await scene.lobby.accept_match(match, "a")
    await age(scene, match, 2)

    await until(lambda: is_in_call(scene, match.b.user_id, match.call_id))
    await until(lambda: knows_all(scene))


@pytest.mark.usefixtures("matchmaker")
async def test_the_owner_uses_up_the_match_of_a_live_call(scene: Scene) -> None:
    """Its hub died before it could; both slots name the call."""
    match = await pair_up(scene)
    scene.calls.set(match.call_id, CallStage.LIVE)
    await age(scene, match, 2)

    await until(lambda: no_matches(scene))
    assert await scene.queues.scan("friends") == []
    assert (await scene.activities.read(ANN)).activity == InCall(match.call_id)
    assert (await scene.activities.read(BOB)).activity == InCall(match.call_id)


@pytest.mark.usefixtures("matchmaker")
async def test_the_owner_resolves_the_match_of_an_ended_call(scene: Scene) -> None:
    """As the call says: seat b goes back, seat a is idle."""
    match = await pair_up(scene)
    scene.calls.set(match.call_id, CallStage.ENDED, returns="b")
    await age(scene, match, 2)

    await until(lambda: no_matches(scene))
    assert (await scene.activities.read(match.a.user_id)).activity is None
    assert (await scene.activities.read(match.b.user_id)).activity == Queued("friends", match.b.ticket_id)
    assert await scene.depth() == {"waiting": 1, "paused": 0, "matched": 0}


@pytest.mark.usefixtures("matchmaker")
async def test_a_decline_counts_also_where_the_hub_that_heard_it_died(scene: Scene) -> None:
    """It was told that the call is over, and nothing more was done: the owner lets the decliner go, and counts."""
    match = await pair_up(scene)
    scene.calls.set(match.call_id, CallStage.ENDED, returns="b", declined="a")
    await age(scene, match, 2)
    await until(lambda: no_matches(scene))

    declines = [
        await scene.redis.hget(scene.keys.user(match.seat(seat).user_id), "declines") for seat in ("a", "b")
    ]
    assert declines[0].split()[0] == b"1"
    assert declines[1] is None


@pytest.mark.usefixtures("matchmaker")
async def test_both_go_back_when_no_call_came(scene: Scene) -> None:
    """Twelve seconds after the claim, at their old places, apart from each other."""
    match = await pair_up(scene)
    await age(scene, match, 5)
    await asyncio.sleep(0.7)
    assert len(await scene.queues.matches("friends")) == 1
    await age(scene, match, 7)

    await until(lambda: no_matches(scene))
    tickets = {each.ticket.user_id: each.ticket for each in await scene.queues.scan("friends")}
    assert tickets[ANN].exclusions == {BOB}
    assert tickets[BOB].exclusions == {ANN}
    assert (
        scene.registry.get_sample_value("minuet_matches_total", {"intent": "friends", "outcome": "expired"})
        == 1
    )
