"""A match that is shown to a session which the record does not name yet, and the call is over by then."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from base.errors import Unavailable
from base.ids import SessionId, UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.local_call import LocalCall
from tests.integration.hub.town import Node, Town, opened_town


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """Two people who are about to connect."""
    async with opened_town(redis_url, IntentPolicy(), talking=False) as opened:
        yield opened


async def shown_elsewhere(town: Town) -> tuple[Node, LocalCall]:
    """His device has begun another session on a third node, which shows it the call; the record names the old one."""
    third = Node("node-3", "b", town.redis, town.bus)
    third.person.id = SessionId("his other session")
    await third.calls.catch_up(town.call_id)
    third.person.enter_call(town.call_id)
    return third, town.call_at(third)


async def test_the_end_is_told_to_a_session_that_the_record_does_not_name(town: Town) -> None:
    """She hangs up before his new session is in the record: her node tells the old one, so the new one hears it here."""
    third, call = await shown_elsewhere(town)
    await town.hers.calls.act(town.call_id, UserId("she"), events.HungUp)

    await third.seating.sit_down(call, "b", third.person)

    [ended] = third.person.of("call.ended")
    assert (ended["reason"], ended["requeued"]) == ("cancelled", True)
    assert [view["state"] for view in third.person.of("call.state")] == ["ended"]
    assert third.person.call_id is None


async def test_a_call_that_goes_on_names_the_session_from_then_on(town: Town) -> None:
    """What happens next is told to the new session by her node."""
    third, call = await shown_elsewhere(town)

    await third.seating.sit_down(call, "b", third.person)
    stored = await third.store.load(town.call_id)

    assert stored is not None
    assert (stored.call.b.session_id, stored.call.b.node_id) == ("his other session", "node-3")
    assert third.person.of("call.ended") == []
    assert third.person.call_id == town.call_id


async def test_a_session_sits_down_later_where_the_store_is_away(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The match is announced again, and then it does."""
    third, call = await shown_elsewhere(town)

    with monkeypatch.context() as away:
        away.setattr(third.store, "commit", _unavailable)
        with pytest.raises(Unavailable):
            await third.seating.sit_down(call, "b", third.person)
    await third.seating.sit_down(call, "b", third.person)
    stored = await third.store.load(town.call_id)

    assert stored is not None
    assert stored.call.b.node_id == "node-3"


async def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable
