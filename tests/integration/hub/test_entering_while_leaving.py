"""Sessions that go to another node in the moment in which this one brings them into a call, or that are brought into it twice.

Whoever has gone is not this node's to seat, nor to call away; whoever is told of a match is told once.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.ids import CallId, NodeId, SessionId, UserId
from matchmaker.matches import Match
from signaling.arrivals import Arrivals
from signaling.call import events
from signaling.call.record import Call, SeatRecord
from signaling.call.rules import receive
from signaling.ports import StoredCall
from signaling.rows import Rows
from storage.redis.client import connect
from tests.integration.hub.town import HeldBus, Listener, Node
from tests.integration.matchmaker.claimed_by_hand import CALL, claim
from tests.integration.matchmaker.scene import PlayedHealth, Scene

SHE = UserId("she")
ELSEWHERE = NodeId("node-3")


class Waiting(Listener):
    """Her session, which waits on this node."""

    away = False
    generation = 1
    last_call_id: CallId | None = None
    is_attached = True

    def __init__(self) -> None:
        super().__init__(SHE)
        self.id = SessionId("session-she-she-phone")


class Evening:
    """She waits here, he on a node that nobody asks."""

    def __init__(self, redis: Any) -> None:
        self.scene = Scene.on(redis)
        self.node = node = Node("node-1", "a", redis, HeldBus())
        her: Any = Waiting()
        self.her = her
        node.router._hub._by_device[SHE, her.device_id] = her
        node.router._hub.wake = lambda live: None  # type: ignore[method-assign]  # nobody turns the wheel
        rows = Rows(None, node.router, PlayedHealth())  # type: ignore[arg-type]  # nobody asks for a row
        self.arrivals = Arrivals(
            node.router._hub,
            node.router,
            node.calls,
            self.scene.lobby,
            self.scene.policies,
            node.clock,
            rows,
            node.seating,
        )

    async def matched(self) -> Match:
        scene = self.scene
        she, he = [
            await scene.join(name, node=node, device=f"{name}-phone")
            for name, node in (("she", self.node.id), ("he", NodeId("node-2")))
        ]
        row = f"{self.node.id} {self.her.id} {self.her.generation}"
        await scene.redis.hset(scene.keys.user(SHE), f"session:{self.her.device_id}", row)
        return await claim(scene, she, he)

    async def goes_elsewhere(self) -> None:
        """Her session is another node's from now on, which says so."""
        call = self.node.local.get(CALL)
        assert call is not None
        self.her.is_over, self.her.is_attached = True, False
        attached = events.SeatAttached("a", self.her.id, ELSEWHERE, self.her.device_id)
        await self.node.calls.decide(call, attached)

    @property
    def her_seat(self) -> SeatRecord:
        call = self.node.local.get(CALL)
        assert call is not None
        return call.stored.call.a


@pytest.fixture
async def evening(redis_url: str) -> AsyncIterator[Evening]:
    redis = connect(redis_url)
    yield Evening(redis)
    await redis.aclose()


async def test_a_match_that_is_announced_twice_at_once_is_told_once(evening: Evening) -> None:
    """The second word comes while the first one still asks the slot."""
    match = await evening.matched()

    await asyncio.gather(evening.arrivals.announced(match), evening.arrivals.announced(match))

    assert evening.her.call_id == CALL
    assert len(evening.her.of("match.found")) == 1


async def test_who_leaves_while_they_are_shown_the_call_is_not_called_away(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She is on another node by then, with a socket: that she has none here means nothing."""
    match = await evening.matched()
    sit_down = evening.node.seating.sit_down

    async def and_goes(*who: Any) -> None:
        await sit_down(*who)
        await evening.goes_elsewhere()

    monkeypatch.setattr(evening.node.seating, "sit_down", and_goes)

    await evening.arrivals.announced(match)

    assert (evening.her_seat.node_id, evening.her_seat.attached) == (ELSEWHERE, True)


async def test_who_has_left_is_not_seated_here(evening: Evening, monkeypatch: pytest.MonkeyPatch) -> None:
    """The match is announced again, and while the slot is asked her session goes."""
    match = await evening.matched()
    await evening.arrivals.announced(match)
    enter_call = evening.scene.lobby.enter_call

    async def and_goes(*how: Any) -> Any:
        entered = await enter_call(*how)
        await evening.goes_elsewhere()
        return entered

    monkeypatch.setattr(evening.scene.lobby, "enter_call", and_goes)

    await evening.arrivals.announced(match)

    assert (evening.her_seat.node_id, evening.her_seat.attached) == (ELSEWHERE, True)


async def test_who_goes_while_they_are_being_seated_stays_where_they_went(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other node's commit comes first; what is decided anew here is not that she is here."""
    match = await evening.matched()
    evening.her.id = SessionId("her-newer-session")
    commit = evening.node.store.commit

    async def and_goes(before: StoredCall, call: Call, **how: Any) -> StoredCall | None:
        if not evening.her.is_over:
            evening.her.is_over = True
            there = events.SeatAttached("a", evening.her.id, ELSEWHERE, evening.her.device_id)
            theirs = receive(before.call, there, evening.node.clock.now_ms()).call
            assert await commit(before, theirs) is not None
        return await commit(before, call, **how)

    call = await evening.node.calls.open(match, evening.scene.policies["friends"])
    assert call is not None
    monkeypatch.setattr(evening.node.store, "commit", and_goes)

    await evening.node.seating.sit_down(call, "a", evening.her)

    assert (evening.her_seat.session_id, evening.her_seat.node_id) == (evening.her.id, ELSEWHERE)


async def test_an_end_that_is_known_here_and_not_told_yet_is_told_before_the_next_match(
    evening: Evening,
) -> None:
    """This node has stored the end and is slow to tell; the pool's owner has returned her place, and she is matched anew."""
    match = await evening.matched()
    await evening.arrivals.announced(match)
    call = evening.node.local.get(CALL)
    assert call is not None
    evening.node.router._hub.session = lambda session_id: evening.her  # type: ignore[method-assign]  # she is here
    evening.her.run_soon = lambda work: work.close()
    ended = receive(call.stored.call, events.Declined("b"), evening.node.clock.now_ms()).call
    stored = await evening.node.store.commit(call.stored, ended)
    assert stored is not None
    evening.node.local.keep(stored)

    await evening.node.calls.catch_up(CALL)

    assert [end["requeued"] for end in evening.her.of("call.ended")] == [True]
    assert evening.her.call_id is None


async def test_that_she_left_is_noted_where_she_is(evening: Evening) -> None:
    """Here she is away; of a session that went to another node, and lost a socket here at last, nothing is noted."""
    match = await evening.matched()
    await evening.arrivals.announced(match)
    await evening.node.seating.detach(CALL, evening.her)
    was_away = not evening.her_seat.attached
    await evening.goes_elsewhere()
    await evening.node.seating.detach(CALL, evening.her)

    assert was_away
    assert evening.her_seat.attached
