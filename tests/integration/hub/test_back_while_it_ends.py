"""Whoever comes back in the moment in which the call ends that they were in: the place that returns from it is theirs.

Played step by step, since it is a matter of milliseconds: the device's new session learns from its user's slot that there is a
call, and by the time that it looks at the call, the call is over.
"""

from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from base.ids import CallId, NodeId, SessionId, UserId
from matchmaker.activity import InCall, Queued
from matchmaker.matches import SEATS, Match
from matchmaker.ports import StoredTicket, TicketState
from presence.sessions import Registered
from signaling.call import events
from signaling.call.change import Decision
from signaling.call.rules import receive
from signaling.local_call import LocalCall
from signaling.regaining import Regaining
from signaling.rows import Rows
from signaling.tickets import Tickets
from storage.redis.client import connect
from tests.integration.hub.town import HeldBus, Listener, Node
from tests.integration.matchmaker.claimed_by_hand import CALL, claim
from tests.integration.matchmaker.scene import PlayedHealth, Scene

SHE = UserId("she")
DEAD = NodeId("node-that-died")


class Returned(Listener):
    """Her new session, on the node that lives."""

    away = False
    last_call_id: CallId | None = None
    ticket: Any = None

    def __init__(self) -> None:
        super().__init__(SHE)
        self.id = SessionId("her-new-session")
        self.work: list[Coroutine[Any, Any, None]] = []

    def leave_call(self, call_id: CallId) -> None:
        super().leave_call(call_id)
        self.last_call_id = call_id

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(work)


class Evening:
    """Two who were matched; her hub is dead, and she is shown the call by a slot that was read a moment ago."""

    def __init__(self, redis: Any) -> None:
        self.scene = Scene.on(redis)
        self.node = Node("node-2", "b", redis, HeldBus())
        self.her: Any = Returned()
        rows = Rows(None, self.node.router, PlayedHealth())  # type: ignore[arg-type]  # nobody asks for a row
        self.node.calls._aftermath._lobby = lobby = self.scene.lobby
        tickets = Tickets(
            self.node.router._hub, self.node.router, lobby, self.scene.policies, self.node.clock, rows
        )
        self.regaining = Regaining(self.node.router, None, tickets, self.node.seating, None)  # type: ignore[arg-type]  # nobody asks for a row, or who it is

    async def proposed(self) -> Match:
        """She has said yes; nobody knows what he will say."""
        scene = self.scene
        she, he = [
            await scene.join(name, node=node, device=f"{name}-phone")
            for name, node in (("she", DEAD), ("he", self.node.id))
        ]
        match = await claim(scene, she, he)
        call = await self.node.calls.open(match, scene.policies["friends"])
        assert call is not None
        for seat in SEATS:
            await scene.lobby.accept_match(match, seat)
        await self.node.calls.decide(call, events.Accepted("a"))
        return match

    async def come_back(self) -> object:
        """What her new session is shown of a call, by a slot that still named it."""
        slot = Registered(2, None, str(InCall(CALL)), self.her.device_id, blocks_known=True)
        return await self.regaining.take_over(self.her, None, slot)

    async def her_ticket(self, match: Match) -> StoredTicket:
        stored = await self.scene.queues.find("friends", match.a.ticket_id)
        assert stored is not None
        return stored


@pytest.fixture
async def evening(redis_url: str) -> AsyncIterator[Evening]:
    redis = connect(redis_url)
    yield Evening(redis)
    await redis.aclose()


async def he_declines(evening: Evening, *, returned: bool) -> None:
    """With all that follows; or by a hub that dies when it has stored that, before her place is returned."""
    call = evening.node.local.get(CALL)
    assert call is not None
    if returned:
        await evening.node.calls.decide(call, events.Declined("b"))
        return
    ended = receive(call.stored.call, events.Declined("b"), evening.node.clock.now_ms()).call
    assert await evening.node.store.commit(call.stored, ended) is not None


@pytest.mark.parametrize("returned", [True, False])
async def test_the_place_that_comes_back_is_hers(evening: Evening, returned: bool) -> None:
    """She waits again at her old place, under the session and the node of now; and knows it."""
    match = await evening.proposed()
    await he_declines(evening, returned=returned)

    view = await evening.come_back()

    assert view is None
    assert evening.her.ticket is not None
    ticket = await evening.her_ticket(match)
    assert evening.her.ticket.ticket_id == match.a.ticket_id
    assert evening.her.ticket.queued_at == match.a.queued_at
    assert ticket.state is TicketState.WAITING
    assert (ticket.ticket.session_id, ticket.ticket.node_id) == (evening.her.id, evening.node.id)
    slot = await evening.scene.activities.read(SHE)
    assert slot.activity == Queued("friends", match.a.ticket_id)


async def test_a_place_that_came_along_names_the_node_that_it_came_to(evening: Evening) -> None:
    """Her session is fetched from a node that is about to go, and the call ends on the way: else the place would go, too."""
    match = await evening.proposed()
    stored = await evening.her_ticket(match)
    evening.her.ticket = stored.ticket
    evening.her.enter_call(CALL)
    await he_declines(evening, returned=True)

    await evening.regaining.come_back(evening.her)
    for work in evening.her.work:
        await work

    ticket = await evening.her_ticket(match)
    assert [ended["requeued"] for ended in evening.her.of("call.ended")] == [True]
    assert ticket.state is TicketState.WAITING
    assert (ticket.ticket.session_id, ticket.ticket.node_id) == (evening.her.id, evening.node.id)


@pytest.mark.parametrize("declined_another", [False, True])
async def test_a_place_that_went_with_a_later_call_does_not_come_back(
    evening: Evening, declined_another: bool
) -> None:
    """She was matched anew with it and has declined, before it was looked after; her place is nowhere from then on."""
    match = await evening.proposed()
    evening.her.enter_call(CALL)
    attached = events.SeatAttached("a", evening.her.id, evening.node.id, evening.her.device_id)
    call = evening.node.local.get(CALL)
    assert call is not None
    await evening.node.calls.decide(call, attached)
    evening.node.router._hub.session = lambda session_id: evening.her  # type: ignore[method-assign]  # she is here
    await he_declines(evening, returned=False)
    await evening.node.calls.catch_up(CALL)
    [looking_after] = evening.her.work
    if declined_another:
        evening.her.last_call_id = CallId("01a1fd75-8e9d-7439-b49c-6924f0c6e612")

    await looking_after

    assert [ended["requeued"] for ended in evening.her.of("call.ended")] == [True]
    held = None if evening.her.ticket is None else evening.her.ticket.ticket_id
    assert held == (None if declined_another else match.a.ticket_id)


async def test_who_does_not_go_back_is_free(evening: Evening) -> None:
    """She declined herself, and the hub that heard of it died: nothing holds her, and she has declined."""
    await evening.proposed()
    call = evening.node.local.get(CALL)
    assert call is not None
    ended = receive(call.stored.call, events.Declined("a"), evening.node.clock.now_ms()).call
    assert await evening.node.store.commit(call.stored, ended) is not None

    view = await evening.come_back()

    assert view is None
    assert evening.her.ticket is None
    assert (await evening.scene.activities.read(SHE)).activity is None
    declines = await evening.scene.redis.hget(evening.scene.keys.user(SHE), "declines")
    assert declines.split()[0] == b"1"


async def test_whom_nobody_remembers_a_call_of_is_free(evening: Evening) -> None:
    """The store has lost the record, and no node that knew it lives."""
    await evening.proposed()
    evening.node.local._calls.clear()
    await evening.scene.redis.delete(evening.scene.keys.call(CALL))

    view = await evening.come_back()

    assert view is None
    assert (await evening.scene.activities.read(SHE)).activity is None


async def test_a_call_that_another_session_of_the_device_took_stays_hers(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions of one device begin in the same moment: the one that comes too late must not make her idle in a call."""
    await evening.proposed()
    call = evening.node.local.get(CALL)
    assert call is not None
    decide = evening.node.calls.decide

    async def and_another_comes(of: LocalCall, event: events.Event, **how: Any) -> Decision:
        decided = await decide(of, event, **how)
        monkeypatch.undo()
        newer = SessionId("her-newest-session")
        await decide(of, events.SeatAttached("a", newer, evening.node.id, evening.her.device_id))
        return decided

    monkeypatch.setattr(evening.node.calls, "decide", and_another_comes)

    view = await evening.come_back()

    assert view is None
    assert (await evening.scene.activities.read(SHE)).activity == InCall(CALL)
