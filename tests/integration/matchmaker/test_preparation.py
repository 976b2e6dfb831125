"""A pool is learnt ahead of its lease, and what happens to it meanwhile is not lost on whoever takes it over."""

import asyncio
import time
from pathlib import Path

from base.ids import CallId, TicketId
from base.policy import Gender
from matchmaker.knowledge import Knowledge
from matchmaker.matches import Match, seated
from matchmaker.preparation import SILENT_MS, Preparation
from matchmaker.ticket import Ticket
from tests.fixtures.waiting import until
from tests.integration.matchmaker.crowded_pools import fill
from tests.integration.matchmaker.processes import first_word_of, matchmaker_process
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import ticket_of, wanting

POOL = "friends"


def people(count: int) -> list[Ticket]:
    """Who wait for nobody who is there."""
    men = wanting(sides=frozenset({Gender.MALE}))
    return [
        ticket_of(f"{number:03}", queued_at=number, side=Gender.FEMALE, wants=men) for number in range(count)
    ]


def knowledge_of(scene: Scene) -> Knowledge:
    return Knowledge(POOL, scene.policies[POOL], scene.queues, scene.worker_ports.clock)


async def hear_all(knowledge: Knowledge, scene: Scene) -> None:
    batch = await scene.queues.events(POOL, knowledge.cursor, limit=1_000, block_ms=10)
    for number, event in batch.events:
        knowledge.hear(number, event)


async def test_what_the_old_owner_claimed_meanwhile_is_found_out(scene: Scene) -> None:
    """No event tells of claims: some are under way, one call is live, one has failed, one side came back."""
    for ticket in people(10):
        await scene.queues.put(ticket)
    old = await scene.queues.take_lease(POOL, "old", ttl_ms=10_000)
    knowledge = knowledge_of(scene)
    await knowledge.learn()
    pairs = [
        Match(call_id=CallId(f"call-{a.user_id}"), intent=POOL, claimed_at_ms=0, a=seated(a), b=seated(b))
        for a, b in zip(people(10)[0:6:2], people(10)[1:6:2], strict=True)
    ]
    await scene.queues.claim(POOL, old.token, pairs)
    await scene.queues.settle(POOL, pairs[1].call_id)
    await scene.queues.resolve(pairs[2].ref("a"), returns=False)
    await scene.queues.resolve(pairs[2].ref("b"), returns=True)
    await hear_all(knowledge, scene)
    before = set(knowledge.room.tickets())
    await knowledge.look_again()

    assert before == {ticket.ticket_id for ticket in people(10)}
    assert set(knowledge.room.tickets()) == {ticket.ticket_id for ticket in people(10)[5:]}
    assert knowledge.room.waiting()[Gender.FEMALE] == 5


async def test_what_is_heard_while_looking_again_is_newer(scene: Scene) -> None:
    """Somebody was matched when it was asked, and is back when the answer is taken note of."""
    for ticket in people(4):
        await scene.queues.put(ticket)
    old = await scene.queues.take_lease(POOL, "old", ttl_ms=10_000)
    knowledge = knowledge_of(scene)
    await knowledge.learn()
    a, b = people(2)
    match = Match(call_id=CallId("call"), intent=POOL, claimed_at_ms=0, a=seated(a), b=seated(b))
    await scene.queues.claim(POOL, old.token, [match])
    states = scene.queues.states

    async def answered_late(pool: str, ticket_ids: list[TicketId]) -> object:
        found = await states(pool, ticket_ids)
        await scene.queues.resolve(match.ref("a"), returns=True)
        await hear_all(knowledge, scene)
        return found

    scene.queues.states = answered_late  # type: ignore[method-assign,assignment]  # the pool goes on meanwhile
    await knowledge.look_again()

    assert set(knowledge.room.tickets()) == {people(4)[number].ticket_id for number in (0, 2, 3)}


async def test_who_is_silent_is_learnt_from_and_forgotten_when_they_speak(scene: Scene) -> None:
    """An owner that renews in time, or late, keeps its pool for itself."""
    for ticket in people(3):
        await scene.queues.put(ticket)
    preparation = Preparation(POOL, scene.policies[POOL], scene.worker_ports)

    await preparation.heed(SILENT_MS + 1)
    assert await preparation.take() is None

    await preparation.heed(SILENT_MS)
    await preparation.heed(SILENT_MS + 800)
    assert await preparation.take() is None

    await preparation.heed(SILENT_MS)
    await preparation.heed(1)
    prepared = await preparation.take()
    assert prepared is not None
    await prepared.finish()
    assert len(prepared.knowledge.room.tickets()) == 3
    assert await preparation.take() is None


async def test_what_cannot_be_learnt_ahead_is_learnt_with_the_lease(scene: Scene) -> None:
    """The store may be away just then."""
    scene.queues.scan_in_parts = None  # type: ignore[method-assign,assignment]  # fails when it is called
    preparation = Preparation(POOL, scene.policies[POOL], scene.worker_ports)
    await preparation.heed(SILENT_MS)
    await asyncio.sleep(0.2)

    assert await preparation.take() is None


async def test_the_next_owner_has_learnt_a_large_pool_before_it_has_the_lease(
    scene: Scene, redis_url: str, tmp_path: Path
) -> None:
    """kill -9: it says that it learns before it says that it has taken the pool, and then goes on."""
    logs = tmp_path / "first", tmp_path / "second"
    await fill(scene, 5_000)
    async with matchmaker_process(redis_url, "first", logs[0], "dating") as first:
        await until(lambda: "pool rebuilt" in logs[0].read_text(), timeout_s=60)
        async with matchmaker_process(redis_url, "second", logs[1], "dating"):
            await until(lambda: "standing by" in logs[1].read_text(), timeout_s=60)
            first.kill()
            began = time.monotonic()
            man = ticket_of(
                "bob", side=Gender.MALE, intent="dating", age=30, queued_at=time.time_ns() // 10**6
            )
            await scene.queues.put(man)
            took_s = await first_word_of(scene, "second") - began
            await until(lambda: "pool looked at again" in logs[1].read_text(), timeout_s=60)
    said = [logs[1].read_text().index(what) for what in ("owner is silent", "pool taken", "looked at again")]

    assert said == sorted(said)
    assert took_s < 15
