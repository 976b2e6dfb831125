"""Video was taken back and that waits for the store: it takes back what was allowed then, no less and no more."""

from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import UserId
from base.policy import Control, IntentPolicy
from signaling.call import events
from signaling.call.record import Call
from signaling.call.states import Seat
from tests.fixtures.waiting import until
from tests.integration.hub.town import Node, Town, opened_town

SHE, HE = UserId("she"), UserId("he")


def both(seat: Seat) -> events.Event:
    return events.VideoApproved(seat, "both")


def receive(seat: Seat) -> events.Event:
    return events.VideoApproved(seat, "receive")


def allowed(call: Call) -> tuple[bool, bool]:
    return call.a.video_allowed, call.b.video_allowed


async def settled(town: Town, node: Node) -> Call:
    """The record, when a node owes nothing any more."""
    await until(lambda: not town.call_at(node).owed)
    await until(lambda: town.call_at(node).lost is None)
    stored = await node.store.load(town.call_id)
    assert stored is not None
    return stored.call


async def test_only_to_receive_holds_where_both_say_so(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes back the own video; that nobody has asked for the other's makes neither void."""
    policy = IntentPolicy(control=Control.MUTUAL, revoke_window_s=60)
    async with opened_town(redis_url, policy) as town:
        await town.his.calls.act(town.call_id, HE, events.VideoRequested)
        await town.deliver()
        await town.hers.calls.act(town.call_id, SHE, both)
        await town.deliver()
        before = allowed(town.call_at(town.his).view)
        with monkeypatch.context() as away:
            away.setattr(town.hers.store, "commit", _unavailable)
            await town.hers.calls.act(town.call_id, SHE, receive)
            await town.his.calls.act(town.call_id, HE, receive)
        call = await settled(town, town.hers)

        assert before == (True, True)
        assert allowed(call) == (False, False)


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
