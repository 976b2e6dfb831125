"""What was learnt of a pool ahead of its lease may be too old to go on with, or not be needed any more."""

import asyncio
import gc

import pytest

from base.ids import TicketId
from matchmaker.knowledge import EventsMissed, Knowledge
from matchmaker.preparation import SILENT_MS, Preparation
from matchmaker.roster import Roster
from matchmaker.tenure import Tenure
from matchmaker.worker import PoolWorker
from tests.fixtures.waiting import until
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import ticket_of

POOL = "friends"


class NextOrNot(Roster):
    """Stands behind somebody for the pool for as long as the test says so."""

    is_behind = True

    def is_mine(self, pool: str) -> bool:
        return False

    def is_next(self, pool: str) -> bool:
        return self.is_behind


def is_known() -> bool:
    return any(isinstance(each, Knowledge) for each in gc.get_objects())


async def test_events_that_another_has_forgotten_are_missed_at_once(scene: Scene) -> None:
    """Not with the next event, for which a quiet pool may wait for long."""
    await scene.queues.put(ticket_of("ann", intent=POOL))
    old = await scene.queues.take_lease(POOL, "old", ttl_ms=60_000)
    preparation = Preparation(POOL, scene.policies[POOL], scene.worker_ports)
    await preparation.heed(SILENT_MS)
    prepared = await preparation.take()
    assert prepared is not None
    await prepared.finish()
    await scene.queues.leave(POOL, TicketId("ticket-ann"))
    await scene.redis.xtrim(scene.keys.arrivals(POOL), maxlen=0, approximate=False)
    await scene.queues.drop_lease(POOL, old.token)
    lease = await scene.queues.take_lease(POOL, "new", ttl_ms=60_000)

    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.timeout(30):
            await Tenure(POOL, scene.policies[POOL], scene.worker_ports, lease, prepared).run()
    assert failed.group_contains(EventsMissed)


async def test_who_is_next_no_more_forgets_what_was_learnt(scene: Scene) -> None:
    """It would only grow old, and a large pool takes its memory."""
    gc.collect()
    assert not is_known()
    await scene.queues.put(ticket_of("ann", intent=POOL))
    silent = asyncio.create_task(keep_silent(scene))
    ports = scene.worker_ports
    roster = NextOrNot("me", [POOL], scene.queues, ports.clock)
    worker = asyncio.create_task(PoolWorker(POOL, scene.policies[POOL], ports, roster).run())
    try:
        await until(is_known)
        roster.is_behind = False
        await until(lambda: not is_known())
    finally:
        for task in (worker, silent):
            task.cancel()
        await asyncio.gather(worker, silent, return_exceptions=True)


async def keep_silent(scene: Scene) -> None:
    """The owner's lease is about to end all the time."""
    while True:
        # Whatever a busy machine has let happen to it meanwhile.
        await scene.redis.set(scene.keys.pool_owner(POOL), "1-old", px=SILENT_MS - 100)
        await asyncio.sleep(0.05)
