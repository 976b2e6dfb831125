"""Both are on one node, and by the record one of them is on another, which that session has just left: both hear all."""

from collections.abc import AsyncIterator

import pytest

from base.ids import SessionId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.node_frames import CallCommitted, NodeFrame, encode_frame
from tests.integration.hub.town import Listener, Node, Town, opened_town

HER_SESSION, HIS_SESSION = SessionId("she-session"), SessionId("he-session")


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """She and he are on her node; the record says so of him, and of her that she is on the other."""
    async with opened_town(redis_url, IntentPolicy(decide_after_s=0)) as opened:
        hers, his = opened.hers, opened.his
        people = {HER_SESSION: hers.person, HIS_SESSION: his.person}
        hers.router._hub.session = people.get  # type: ignore[method-assign,assignment]  # both are on her node
        his.router._hub.session = lambda _session: None  # type: ignore[method-assign]  # nobody is on his
        hers.router.welcome(HER_SESSION)
        call = opened.call_at(his)
        await his.calls.decide(call, events.SeatAttached("b", HIS_SESSION, hers.id, his.person.device_id))
        await his.calls.decide(call, events.SeatAttached("a", HER_SESSION, his.id, hers.person.device_id))
        await opened.deliver()
        opened.forget()
        yield opened


def ends(person: Listener) -> list[tuple[str, object]]:
    return [
        (type_, data.get("state") or data.get("reason"))
        for type_, data in person.heard
        if type_ in ("call.state", "call.ended")
    ]


async def test_who_has_just_left_the_node_that_decides_hears_of_the_end(town: Town) -> None:
    """From the frame that he is told by, since she is there as well; what is sent after her comes later, and is no news."""
    caught: list[NodeFrame] = []

    def follows(_session: SessionId, frame: NodeFrame) -> bool:
        caught.append(frame)
        return True

    town.his.router.catch_strays(follows)
    await town.his.calls.decide(town.call_at(town.his), events.HungUp("b"))
    await town.deliver(CallCommitted)
    for frame in caught:
        receive(town.hers, frame)

    assert caught
    assert ends(town.hers.person) == [("call.state", "deciding")]
    assert len(town.hers.person.of("connect.prompt")) == 1
    assert ends(town.his.person) == [("call.state", "ended"), ("call.ended", "hangup")]


async def test_and_of_an_end_with_nothing_to_decide(town: Town) -> None:
    """A block: what is sent after her is lost."""
    town.his.router.catch_strays(lambda _session, _frame: True)
    await town.his.calls.decide(town.call_at(town.his), events.Blocked("b"))
    await town.deliver(CallCommitted)

    assert ends(town.hers.person) == [("call.state", "ended"), ("call.ended", "hangup")]
    assert ends(town.his.person) == [("call.state", "ended"), ("call.ended", "hangup")]


def receive(node: Node, frame: NodeFrame) -> None:
    node.receive(encode_frame(frame))
