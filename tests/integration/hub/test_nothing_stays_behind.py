"""What a node notes of sessions while their calls end is forgotten when that is done."""

from collections.abc import AsyncIterator

import pytest

from base.ids import CallId, SessionId
from base.policy import IntentPolicy
from signaling.call import events
from tests.integration.hub.town import Listener, Town, opened_town


class Person(Listener):
    """Who can go back to a queue."""

    id = SessionId("she-session")
    away = False
    last_call_id: CallId | None = None


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    async with opened_town(redis_url, IntentPolicy(), talking=False) as opened:
        yield opened


async def test_who_goes_back_to_the_queue_leaves_no_note(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join waits for a ticket on its way back; afterwards nothing says that there was one."""
    hers = town.hers
    she = Person("she")
    monkeypatch.setattr(hers.router._hub, "listener", she)
    match = town.matched()
    call = await hers.calls.open(match, IntentPolicy())
    assert call is not None
    she.enter_call(match.call_id)
    await hers.calls.decide(call, events.Declined("b"))

    assert [data["requeued"] for data in she.of("call.ended")] == [True]
    assert not hers.calls._aftermath._returning
