"""What the hub and the matchmaker may rely on when calls stand in Redis. Everything here runs on the real server."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from base.errors import Unavailable
from matchmaker.ports import CallOutcome, CallStage
from signaling.call.record import Call, Pending
from signaling.call.states import EndReason, State
from signaling.ports import StoredCall
from storage.redis.calls import CLAIM_AGE_MS, RedisCallStore
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.contract.calls.call_records import in_partition, moved, new_id, proposed, server_ms
from tests.contract.calls.lossy_proxy import lossy_proxy

KEYS = Keys("test:")


@pytest.fixture
def store(redis: Redis) -> RedisCallStore:
    return RedisCallStore(redis, KEYS)


async def created(store: RedisCallStore, call: Call) -> StoredCall:
    stored = await store.create(call, claimed_at_ms=call.created_at)
    assert stored is not None
    return stored


async def committed(store: RedisCallStore, before: StoredCall, call: Call) -> StoredCall:
    stored = await store.commit(before, call)
    assert stored is not None
    return stored


async def test_a_created_call_is_loaded_as_it_was(store: RedisCallStore) -> None:
    """Everything that was stored comes back, with the rev under which it stands."""
    call = proposed()
    stored = await created(store, call)

    assert stored.call == call
    assert await store.load(call.call_id) == stored


async def test_an_unknown_call_is_absent(store: RedisCallStore) -> None:
    """Loading what nobody stored gives nothing, and no error."""
    assert await store.load(in_partition(0)) is None


async def test_whoever_creates_second_gets_what_the_first_one_stored(store: RedisCallStore) -> None:
    """Both hubs of a match create its call; they must go on with one record."""
    first = await created(store, proposed())
    late = msgspec.structs.replace(first.call, created_at=first.call.created_at + 50)

    assert await store.create(late, claimed_at_ms=late.created_at) == first


async def test_fifty_that_create_at_once_go_on_with_one_record(store: RedisCallStore) -> None:
    """A race of creators has one outcome, and everybody learns it."""
    call = proposed()
    rivals = [msgspec.structs.replace(call, created_at=call.created_at + n) for n in range(50)]
    answers = await asyncio.gather(*(store.create(rival, claimed_at_ms=call.created_at) for rival in rivals))

    assert len({answer.rev for answer in answers if answer}) == 1
    assert answers == [await store.load(call.call_id)] * 50
    assert (await store.count_by_state())["proposed"] == 1


async def test_a_claim_that_is_too_old_makes_no_call(store: RedisCallStore, redis: Redis) -> None:
    """Nobody is rung more than ten seconds after the match: those people were told something else by then."""
    now = await server_ms(redis)
    call = proposed()

    assert await store.create(call, claimed_at_ms=now - CLAIM_AGE_MS - 1) is None
    assert await store.load(call.call_id) is None
    assert await store.create(call, claimed_at_ms=now - CLAIM_AGE_MS + 2_000) is not None


async def test_an_old_claim_still_finds_the_call_that_was_created_in_time(
    store: RedisCallStore, redis: Redis
) -> None:
    """The second hub may be late; the call is there, so it is told so."""
    first = await created(store, proposed())

    assert await store.create(first.call, claimed_at_ms=await server_ms(redis) - 60_000) == first


async def test_a_commit_replaces_what_the_caller_has_seen(store: RedisCallStore) -> None:
    """The new content stands under a new rev."""
    before = await created(store, proposed())
    after = await committed(store, before, moved(before.call, State.CONNECTING))

    assert after.rev != before.rev
    assert await store.load(before.call.call_id) == after


async def test_a_commit_on_something_older_changes_nothing(store: RedisCallStore) -> None:
    """Whoever lost a race is told so and decides again on what stands."""
    before = await created(store, proposed())
    winner = await committed(store, before, moved(before.call, State.CONNECTING))

    assert await store.commit(before, moved(before.call, State.ENDED)) is None
    assert await store.load(before.call.call_id) == winner
    assert (await store.count_by_state())["connecting"] == 1


async def test_versions_alone_do_not_let_a_commit_through(store: RedisCallStore) -> None:
    """After a failover the same version can stand with other content; only the rev tells them apart."""
    before = await created(store, proposed())
    await committed(store, before, moved(before.call, State.CONNECTING))
    impostor = StoredCall(moved(before.call, State.CONNECTING), "0" * 16)

    assert await store.commit(impostor, moved(impostor.call, State.LIVE)) is None


async def test_of_fifty_commits_on_one_rev_exactly_one_wins(store: RedisCallStore) -> None:
    """Compare and set, round after round, under contention."""
    stored = await created(store, proposed())
    for _ in range(5):
        rivals = [moved(stored.call, State.CONNECTING, resets=n) for n in range(50)]
        answers = await asyncio.gather(*(store.commit(stored, rival) for rival in rivals))
        winners = [answer for answer in answers if answer]

        assert len(winners) == 1
        assert await store.load(stored.call.call_id) == winners[0]
        stored = winners[0]


async def test_a_commit_to_a_call_that_is_gone_changes_nothing(store: RedisCallStore, redis: Redis) -> None:
    """A store that lost its data does not get half a record back."""
    before = await created(store, proposed())
    await redis.flushdb()

    assert await store.commit(before, moved(before.call, State.CONNECTING)) is None
    assert await redis.dbsize() == 0


async def test_a_commit_whose_answer_was_lost_is_not_taken_for_a_lost_race(redis_url: str) -> None:
    """The client asks again on a new connection; the script knows the request by its rev and does it once."""
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        store = RedisCallStore(client, KEYS)
        before = await created(store, proposed())
        connecting = await committed(store, before, moved(before.call, State.CONNECTING))
        proxy.lose_next = True
        after = await store.commit(connecting, moved(connecting.call, State.LIVE))
        found = await store.load(before.call.call_id)
        counts = await store.count_by_state()
        await client.aclose()

    assert proxy.lost == 1
    assert after is not None
    assert found == after
    assert counts["live"] == 1


async def test_a_creation_whose_answer_was_lost_answers_with_the_call(redis_url: str) -> None:
    """Asked again, it finds its own call and counts it once."""
    async with lossy_proxy(redis_url) as proxy:
        client = connect(proxy.url)
        store = RedisCallStore(client, KEYS)
        await created(store, proposed())
        proxy.lose_next = True
        stored = await created(store, proposed())
        found = await store.load(stored.call.call_id)
        counts = await store.count_by_state()
        await client.aclose()

    assert proxy.lost == 1
    assert found == stored
    assert counts["proposed"] == 2


async def test_a_call_without_a_timer_is_not_stored(store: RedisCallStore) -> None:
    """Nothing would ever end it, so this is refused before anything is written."""
    call = msgspec.structs.replace(proposed(), deadline_at=None)
    stored = await created(store, proposed())

    with pytest.raises(ValueError, match="no deadline"):
        await store.create(call, claimed_at_ms=call.created_at)
    with pytest.raises(ValueError, match="no deadline"):
        await store.commit(stored, msgspec.structs.replace(stored.call, deadline_at=None))
    assert await store.load(stored.call.call_id) == stored


async def test_due_calls_come_the_longest_overdue_first(store: RedisCallStore, redis: Redis) -> None:
    """Over all partitions, and no more than asked for."""
    now = await server_ms(redis)
    late = {
        1_000: in_partition(255),
        900_000: in_partition(0),
        500_000: in_partition(0),
        2_000_000: in_partition(17),
    }
    for by_ms, call_id in late.items():
        await created(store, msgspec.structs.replace(proposed(call_id=call_id), deadline_at=now - by_ms))

    in_order = [late[2_000_000], late[900_000], late[500_000], late[1_000]]
    assert await store.due(overdue_ms=0, limit=10) == in_order
    assert await store.due(overdue_ms=0, limit=2) == in_order[:2]
    assert await store.due(overdue_ms=800_000, limit=10) == in_order[:2]


async def test_no_timer_is_due_early(store: RedisCallStore, redis: Redis) -> None:
    """The store's clock decides: due is what has passed there, whatever the caller's clock says."""
    call = proposed()
    deadline_at = await server_ms(redis) + 1_500
    await created(store, msgspec.structs.replace(call, deadline_at=deadline_at))
    seen_at = []
    while not await store.due(overdue_ms=0, limit=1):
        seen_at.append(await server_ms(redis))
        await asyncio.sleep(0.02)

    assert seen_at
    assert await server_ms(redis) >= deadline_at
    assert await store.due(overdue_ms=60_000, limit=1) == []


async def test_the_earliest_of_all_timers_is_the_one_in_the_index(
    store: RedisCallStore, redis: Redis
) -> None:
    """A pending request runs out before the state does; each commit moves the place in the index."""
    now = await server_ms(redis)
    stored = await created(store, proposed())
    asking = moved(
        stored.call, State.LIVE, video_request=Pending(by="b", until_at=now - 10), ends_at=now + 90_000
    )
    stored = await committed(store, stored, asking)

    assert await store.due(overdue_ms=0, limit=5) == [stored.call.call_id]

    await committed(store, stored, moved(stored.call, State.LIVE, video_request=None))

    assert await store.due(overdue_ms=0, limit=5) == []


async def test_an_ended_call_is_due_no_more(store: RedisCallStore, redis: Redis) -> None:
    """It leaves the index in the same step in which it ends, even with a timer left on its record."""
    stored = await created(store, proposed())
    end = moved(stored.call, State.ENDED, deadline_at=await server_ms(redis) - 50)
    await committed(store, stored, end)

    assert await store.due(overdue_ms=0, limit=5) == []


async def test_states_are_counted_without_the_ended_ones(store: RedisCallStore) -> None:
    """Every state is named, also with nobody in it."""
    calls = [await created(store, proposed(call_id=in_partition(n))) for n in (0, 0, 1, 255)]
    await committed(store, calls[0], moved(calls[0].call, State.CONNECTING))
    await committed(store, calls[1], moved(calls[1].call, State.ENDED))

    assert await store.count_by_state() == {
        "proposed": 2,
        "connecting": 1,
        "live": 0,
        "reconnecting": 0,
        "deciding": 0,
    }


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        (State.PROPOSED, CallStage.SETTING_UP),
        (State.CONNECTING, CallStage.SETTING_UP),
        (State.LIVE, CallStage.LIVE),
        (State.RECONNECTING, CallStage.LIVE),
        (State.DECIDING, CallStage.LIVE),
        (State.ENDED, CallStage.ENDED),
    ],
)
async def test_the_matchmaker_learns_how_far_a_call_is(
    store: RedisCallStore, state: State, stage: CallStage
) -> None:
    """Six states of the call, four stages for the queue."""
    stored = await created(store, proposed())
    await committed(store, stored, moved(stored.call, state))

    assert await store.stage(stored.call.call_id) == CallOutcome(stage)


async def test_the_matchmaker_learns_who_goes_back_to_the_queue(store: RedisCallStore) -> None:
    """Only of an ended call: until then nobody knows. An unknown call is absent."""
    stored = await created(store, proposed())
    back = msgspec.structs.replace(stored.call.b, requeued=True)
    await committed(store, stored, moved(stored.call, State.ENDED, b=back))

    assert await store.stage(stored.call.call_id) == CallOutcome(CallStage.ENDED, frozenset("b"))
    assert await store.stage(in_partition(3)) == CallOutcome(CallStage.ABSENT)


async def test_the_matchmaker_learns_who_has_declined(store: RedisCallStore) -> None:
    """The one who does not go back; their pause is counted by whoever lets them go."""
    stored = await created(store, proposed())
    back = msgspec.structs.replace(stored.call.b, requeued=True)
    ended = moved(stored.call, State.ENDED, b=back, reason=EndReason.DECLINED)
    await committed(store, stored, ended)

    outcome = await store.stage(stored.call.call_id)

    assert (outcome.returns, outcome.declined) == ({"b"}, {"a"})


async def test_two_deployments_on_one_server_do_not_see_each_other(
    store: RedisCallStore, redis: Redis
) -> None:
    """The prefix keeps them apart in every method."""
    other = RedisCallStore(redis, Keys("other:"))
    stored = await created(store, proposed())

    assert await other.load(stored.call.call_id) is None
    assert sum((await other.count_by_state()).values()) == 0


async def test_a_lost_script_is_loaded_again(store: RedisCallStore, redis: Redis) -> None:
    """A restarted server has forgotten its scripts; nobody must notice."""
    stored = await created(store, proposed())
    await redis.script_flush()

    assert await store.commit(stored, moved(stored.call, State.CONNECTING)) is not None


async def test_every_method_says_unavailable_when_the_server_is_away() -> None:
    """One refusal for callers, retryable, whatever went wrong underneath."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    store = RedisCallStore(redis, KEYS)
    call = proposed(call_id=new_id())
    attempts = [
        store.create(call, claimed_at_ms=0),
        store.load(call.call_id),
        store.commit(StoredCall(call, "r"), call),
        store.due(overdue_ms=0, limit=1),
        store.count_by_state(),
        store.stage(call.call_id),
    ]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    await redis.aclose()

    assert [type(answer) for answer in answers] == [Unavailable] * len(attempts)
