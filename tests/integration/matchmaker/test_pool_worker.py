"""A matchmaker that serves real pools: pairing, announcing, reviewing, looking after, recovering."""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from base.errors import Unavailable
from base.ids import CallId, NodeId, UserId
from base.policy import Gender
from matchmaker.activity import InCall, Queued
from matchmaker.lobby import Joined, Standing
from matchmaker.matches import Match, Progress, seated
from matchmaker.ports import Caller, CallStage, TicketState
from matchmaker.scoring import Rule
from matchmaker.ticket import Preferences
from matchmaker.worker import PoolWorker, run_matchmaker
from minuet.embedded import EmbeddedValkey
from storage.redis.client import connect
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import NODE, Scene, running
from tests.unit.matchmaker.people import Somebody

ANN, BOB = UserId("ann"), UserId("bob")
HER, HIM = Somebody("Ann", Gender.FEMALE), Somebody("Bob", Gender.MALE)


async def pair_up(scene: Scene) -> Match:
    """Ann and Bob join and are matched."""
    await scene.join("ann")
    await scene.join("bob")
    (match, *_) = await scene.announcer.next()
    return match


async def age(scene: Scene, match: Match, seconds: float) -> None:
    """Makes a stored match older than it is, so that no test has to wait for that."""
    stored = await scene.redis.hget(scene.keys.matches(match.intent), match.call_id)
    progress, claimed_at, rest = stored.split(b"|", 2)
    older = str(int(claimed_at) - round(seconds * 1000)).encode()
    await scene.redis.hset(
        scene.keys.matches(match.intent), match.call_id, b"|".join((progress, older, rest))
    )


# --- matching ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("matchmaker")
async def test_two_who_fit_are_told_of_each_other(scene: Scene) -> None:
    """Seat a is who waited longer; seats say what the call and the other may know."""
    await scene.join("bob", intent="dating", person=HIM)
    await asyncio.sleep(0.002)
    await scene.join("ann", intent="dating", person=HER)
    (match,) = await scene.announcer.next()

    assert (match.intent, match.a.user_id, match.b.user_id) == ("dating", BOB, ANN)
    assert (match.a.gender, match.a.first_name, match.a.age) == (Gender.MALE, "Bob", 30)
    assert (match.b.device_id, match.b.node_id, match.b.session_id) == ("phone", NODE, "session-ann-phone")
    assert match.claimed_at_ms >= match.b.queued_at
    assert (await scene.queues.matches("dating"))[0].match == match


@pytest.mark.usefixtures("matchmaker")
async def test_a_match_waits_for_no_window_and_no_poll(scene: Scene) -> None:
    """From the second join's call to the announcement, the median.

    About 1 ms on an idle machine. The bound tells that from any waiting by design (the reader blocks for 1 s, upkeep
    and review tick), also where other work takes most of the machine; how quick it is, benchmarks say.
    """
    waits = []
    for number in range(31):
        await scene.join(f"ann-{number}")
        began = time.perf_counter()
        await scene.join(f"bob-{number}")
        await scene.announcer.next(number + 1)
        waits.append((time.perf_counter() - began) * 1000)

    assert sorted(waits)[15] < 90


@pytest.mark.usefixtures("matchmaker")
async def test_people_who_do_not_fit_wait_beside_each_other(scene: Scene) -> None:
    """Two women in dating, a blocked one among friends."""
    await scene.redis.sadd(scene.keys.blocks(UserId("carl")), "dora")
    await scene.join("ann", intent="dating", person=HER)
    await scene.join("eve", intent="dating", person=HER)
    await scene.join("carl")
    await scene.join("dora")
    await asyncio.sleep(0.3)

    assert scene.announcer.matches == []
    assert (await scene.depth("dating"))["waiting"] == 2
    assert (await scene.depth("friends"))["waiting"] == 2


@pytest.mark.usefixtures("matchmaker")
async def test_a_wish_that_widens_finds_who_was_there_all_along(scene: Scene) -> None:
    """The policy of `friends` allows six years more after 0.2 s."""
    ann = await scene.join("ann", preferences=Preferences(age_min=18, age_max=25))
    await scene.join("bob")
    (match,) = await scene.announcer.next()

    assert (
        match.claimed_at_ms - ann.queued_at >= 195
    )  # both on the server's clock, which the owner follows to a few ms


@pytest.mark.usefixtures("matchmaker")
async def test_a_crowd_is_matched_to_the_last(scene: Scene) -> None:
    """Three hundred in a rush: every one in exactly one match, in pairs that were claimed many at a time."""
    few_at_once = asyncio.Semaphore(16)  # fewer than the client has connections: nobody is turned away here

    async def join(number: int) -> Joined:
        async with few_at_once:
            return await scene.join(f"user-{number}")

    joined = await asyncio.gather(*(join(number) for number in range(300)))
    # A match that nobody acknowledges is announced again: it is still one.
    matches = {match.call_id: match for match in await scene.announcer.next(150, timeout_s=30)}.values()
    seats = [side.user_id for match in matches for side in (match.a, match.b)]

    assert len(seats) == len(set(seats)) == 300
    assert {side.ticket_id for match in matches for side in (match.a, match.b)} == {
        j.ticket_id for j in joined
    }
    assert await scene.depth() == {"waiting": 0, "paused": 0, "matched": 300}


async def test_who_waited_before_there_was_a_matchmaker_is_matched_by_seniority(scene: Scene) -> None:
    """A pool is learned from its tickets: the two who waited longest meet, the third goes on waiting."""
    for name in ("ann", "bob", "eve"):
        await scene.join(name)
        await asyncio.sleep(0.002)
    async with running(scene):
        (match,) = await scene.announcer.next()

    assert (match.a.user_id, match.b.user_id) == (ANN, BOB)
    assert (await scene.depth())["waiting"] == 1


@pytest.mark.usefixtures("matchmaker")
async def test_a_paused_ticket_is_matched_only_after_it_wakes(scene: Scene) -> None:
    """It wakes at its place: it is seat a."""
    ann = await scene.join("ann")
    await scene.lobby.pause(ann.ticket)
    await scene.join("bob")
    await asyncio.sleep(0.1)
    assert scene.announcer.matches == []
    await scene.lobby.resume(ann.ticket)
    (match,) = await scene.announcer.next()

    assert match.a.user_id == ANN


@pytest.mark.usefixtures("matchmaker")
async def test_who_comes_back_meets_somebody_else_and_first(scene: Scene) -> None:
    """Ann and Bob failed; Ann, at her old place, is seat a for Eve, who comes next, and Bob waits."""
    match = await pair_up(scene)
    assert await scene.lobby.release(match.ref("a"), returns=True)
    assert await scene.lobby.release(match.ref("b"), returns=True)
    await asyncio.sleep(0.05)
    assert len(scene.announcer.matches) == 1
    await scene.join("eve")
    second = (await scene.announcer.next(2))[-1]

    assert (second.a.user_id, second.b.user_id) == (match.a.user_id, "eve")
    assert second.a.queued_at == match.a.queued_at
    assert second.call_id != match.call_id


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


# --- matches under way -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("matchmaker")
async def test_a_match_nobody_acknowledged_is_announced_again_where_the_sessions_are_now(
    scene: Scene,
) -> None:
    """After half a second; Ann has moved to another node meanwhile."""
    match = await pair_up(scene)
    await scene.redis.hset(scene.keys.user(ANN), "session:phone", "node-2 session-2 5")
    await scene.lobby.accept_match(match, "b" if match.a.user_id == ANN else "a")
    await until(lambda: len(scene.announcer.matches) > 1)
    again = scene.announcer.matches[1]
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
    lease = await scene.queues.take_lease("friends", "gone", ttl_ms=100)
    await scene.queues.claim("friends", lease.token, [match])
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
    await asyncio.sleep(1)

    assert len(scene.announcer.matches) == 1


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
    await age(scene, match, 11)
    await asyncio.sleep(0.7)
    assert len(await scene.queues.matches("friends")) == 1
    await age(scene, match, 1)

    await until(lambda: no_matches(scene))
    tickets = {each.ticket.user_id: each.ticket for each in await scene.queues.scan("friends")}
    assert tickets[ANN].exclusions == {BOB}
    assert tickets[BOB].exclusions == {ANN}
    assert (
        scene.registry.get_sample_value("minuet_matches_total", {"intent": "friends", "outcome": "expired"})
        == 1
    )


# --- looking after -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("matchmaker")
async def test_tickets_of_a_dead_node_are_paused_and_wake_when_their_users_are_elsewhere(
    scene: Scene,
) -> None:
    """Nobody is matched with somebody who cannot answer; the place is kept."""
    scene.nodes.alive = {NODE, NodeId("node-2")}
    ann = await scene.join("ann", node=NodeId("node-2"))
    await asyncio.sleep(1.2)
    scene.nodes.alive = {NODE}
    await until(lambda: stands(scene, ann.ticket_id, TicketState.PAUSED))
    await scene.join("bob")
    assert scene.announcer.matches == []
    moved = msgspec.structs.replace(ann.ticket, node_id=NODE)

    assert await scene.lobby.verify(moved) is Standing.WAITING
    assert (await scene.announcer.next())[0].a.user_id == ANN


@pytest.mark.usefixtures("matchmaker")
async def test_a_ticket_that_is_paused_for_too_long_is_dropped_with_its_slot(scene: Scene) -> None:
    """The policy of this test waits one second."""
    ann = await scene.join("ann")
    await scene.lobby.pause(ann.ticket)
    await asyncio.sleep(0.5)
    assert await scene.queues.state("friends", ann.ticket_id) is TicketState.PAUSED

    await until(lambda: is_idle(scene, ANN))
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


# --- recovering --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("matchmaker")
async def test_a_gap_in_the_events_makes_the_owner_learn_the_pool_anew(scene: Scene) -> None:
    """Ann's arrival was lost; Bob's number shows it, and they meet."""
    ann = await scene.join("ann")
    await scene.lobby.leave(ANN, ann.ticket.device_id)
    await asyncio.sleep(0.1)
    value = (await scene.redis.hget(scene.keys.user(ANN), "activity")) or b""
    assert value == b""
    await scene.activities.join(ANN, Caller(ann.ticket.device_id), Queued("friends", ann.ticket_id))
    silent = b"w|other||" + msgspec.msgpack.encode(ann.ticket)
    await scene.redis.hset(scene.keys.tickets("friends"), ann.ticket_id, silent)
    await scene.redis.hincrby(scene.keys.pool_counts("friends"), "events", 1)
    await scene.join("bob")
    (match,) = await scene.announcer.next()

    assert {match.a.user_id, match.b.user_id} == {ANN, BOB}


async def test_of_two_matchmakers_one_owns_the_pool_and_the_other_takes_over(scene: Scene) -> None:
    """A clean stop gives the pool up, so that nobody waits for the lease to end."""
    other = Scene.on(scene.redis)
    policy = scene.policies["friends"]
    first = asyncio.create_task(PoolWorker("friends", policy, scene.worker_ports).run())
    await until(lambda: owns(scene))
    second = asyncio.create_task(PoolWorker("friends", policy, other.worker_ports).run())
    await scene.join("ann")
    await scene.join("bob")
    await scene.announcer.next()
    assert other.announcer.matches == []
    await scene.join("carl")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    began = time.monotonic()
    await scene.join("dora")
    (match, *_) = [m for m in await other.announcer.next() if m.a.user_id == "carl" or m.b.user_id == "carl"]
    took_s = time.monotonic() - began
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert {match.a.user_id, match.b.user_id} == {"carl", "dora"}
    assert took_s < 1.5
    assert not await scene.redis.exists(scene.keys.pool_owner("friends"))


async def test_an_owner_whose_lease_was_lost_stops_at_once(scene: Scene) -> None:
    """Somebody else's token stands there: nothing more is claimed until that lease ends."""
    async with running(scene):
        await scene.redis.set(scene.keys.pool_owner("friends"), "9-other", px=1_500)
        await scene.join("ann")
        await scene.join("bob")
        await asyncio.sleep(1)
        assert scene.announcer.matches == []
        assert await scene.depth() == {"waiting": 2, "paused": 0, "matched": 0}

        await scene.announcer.next()


async def test_a_flushed_server_is_filled_again(scene: Scene) -> None:
    """All is lost; hubs put their tickets back, and the pool is served again."""
    async with running(scene):
        ann = await scene.join("ann", person=HER, intent="dating")
        await scene.redis.flushdb()
        assert await scene.lobby.verify(ann.ticket) is Standing.RESTORED
        await scene.join("bob", person=HIM, intent="dating")
        (match,) = await scene.announcer.next()

    assert match.a.queued_at == ann.queued_at


@pytest.fixture
async def breakable(private_valkey: EmbeddedValkey) -> AsyncIterator[Scene]:
    """A scene on a server that the test may break."""
    redis = connect(private_valkey.url)
    yield Scene.on(redis)
    await redis.aclose()


async def test_a_server_that_is_away_is_waited_for(breakable: Scene, private_valkey: EmbeddedValkey) -> None:
    """Killed and started again with its data: who waited before is matched after, at the old place."""
    async with running(breakable):
        ann = await breakable.join("ann")
        await asyncio.sleep(1.1)
        await private_valkey.kill()
        await asyncio.sleep(0.5)
        await private_valkey.start()
        await until(lambda: owns(breakable), timeout_s=10)
        await breakable.join("bob")
        (match, *_) = await breakable.announcer.next(timeout_s=10)

    assert (match.a.user_id, match.a.queued_at) == (ANN, ann.queued_at)


async def test_a_matchmaker_that_is_stopped_leaves_nothing_running(scene: Scene) -> None:
    """All its tasks end with it, within a moment, and the pools are free."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))
    await until(lambda: owns(scene))
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)

    assert asyncio.all_tasks() == before
    assert not await scene.redis.exists(scene.keys.pool_owner("friends"), scene.keys.pool_owner("dating"))


async def test_a_matchmaker_stops_whatever_it_is_doing(scene: Scene) -> None:
    """At any moment of its start: a cancellation that a library swallows must not keep the process alive."""
    for step in range(40):
        await scene.redis.flushdb()
        for name in ("ann", "bob", "eve"):
            await scene.join(name)
        task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))
        await asyncio.sleep(step * 0.0005)
        task.cancel()
        await asyncio.wait([task], timeout=3)
        assert task.done()


# --- what is asked -----------------------------------------------------------------------------------------------


async def is_in_call(scene: Scene, user_id: UserId, call_id: CallId) -> bool:
    return (await scene.activities.read(user_id)).activity == InCall(call_id)


async def is_idle(scene: Scene, user_id: UserId) -> bool:
    return (await scene.activities.read(user_id)).activity is None


async def no_matches(scene: Scene) -> bool:
    return await scene.queues.matches("friends") == []


async def knows_all(scene: Scene) -> bool:
    return all(not record.seats_at(Progress.ANNOUNCED) for record in await scene.queues.matches("friends"))


async def stands(scene: Scene, ticket_id: str, state: TicketState) -> bool:
    return await scene.queues.state("friends", ticket_id) is state


async def owns(scene: Scene) -> bool:
    try:
        return bool(await scene.redis.exists(scene.keys.pool_owner("friends")))
    except OSError:
        return False


@pytest.mark.usefixtures("matchmaker")
async def test_the_owner_says_how_it_looks_in_its_pool(scene: Scene) -> None:
    """Who waits and since when, how fast people are matched, and why not."""
    for name in ("ann", "bob"):
        await scene.join(name, intent="dating")
    await scene.announcer.next()
    wishes = Preferences(age_min=70, age_max=80)
    joined = [await scene.join(f"user-{number}", intent="dating", preferences=wishes) for number in range(40)]

    async def told() -> bool:
        outlook = await scene.queues.outlook("dating")
        return outlook is not None and outlook.sides[Gender.OTHER].waiting == 40 and bool(outlook.rejections)

    await until(told, timeout_s=15)
    outlook = await scene.queues.outlook("dating")

    assert outlook is not None
    side = outlook.sides[Gender.OTHER]
    assert side.marks[0] == (0, joined[0].queued_at)
    assert side.matched_per_s > 0
    assert set(outlook.rejections) == {Rule.AGE}
    assert scene.registry.get_sample_value(
        "minuet_match_rejections_total", {"intent": "dating", "rule": "age"}
    ) == sum(outlook.rejections.values())
    waits = {
        gender: scene.registry.get_sample_value(
            "minuet_queue_oldest_seconds", {"intent": "dating", "side": gender.value}
        )
        for gender in Gender
    }
    oldest_s = waits.pop(Gender.OTHER)
    assert oldest_s is not None
    assert 0 < oldest_s < 60
    assert set(waits.values()) == {0}


@pytest.mark.usefixtures("matchmaker")
async def test_who_had_enough_is_let_go(scene: Scene) -> None:
    """The person said for how long: then the ticket is gone, and the slot is free."""
    patient = await scene.join("ann", intent="dating", preferences=Preferences(age_min=70))
    await scene.join("bob", intent="dating", preferences=Preferences(age_min=70, patience_s=1))

    await until(lambda: is_idle(scene, BOB), timeout_s=10)
    assert await scene.queues.state("dating", patient.ticket_id) is TicketState.WAITING
