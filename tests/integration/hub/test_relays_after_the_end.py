"""Relays that were on their way between two nodes when the call ended: nobody hears anything of them."""

from collections.abc import AsyncIterator

import pytest

from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.protocol.messages import call as wire
from tests.fixtures.sdp import VOICE
from tests.integration.hub.town import Town, opened_town

HOST = "candidate:1 1 udp 2122260223 203.0.113.9 50000 typ host"


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """A live call by voice, each side on a node of its own."""
    async with opened_town(redis_url, IntentPolicy()) as opened:
        yield opened


@pytest.mark.parametrize("under_way", ["an offer", "an answer", "candidates"])
async def test_what_he_says_as_she_hangs_up_is_dropped_without_a_word(town: Town, under_way: str) -> None:
    """Her node knows the end already. Neither is told of a negotiation any more: the end is the last that they hear."""
    if under_way == "an answer":
        town.hers.send(town.offer(3, VOICE))
        await town.deliver()
    else:
        town.his.send(town.offer(3, VOICE))
    if under_way == "candidates":
        await town.deliver()
    town.forget()
    if under_way == "an answer":
        town.his.send(town.answer(3, VOICE))
    elif under_way == "candidates":
        candidates = [wire.IceCandidate(candidate=HOST, mid="0")]
        town.his.send(
            wire.CallCandidates(call_id=town.call_id, negotiation=3, of="self", candidates=candidates)
        )
    assert town.bus.way

    await town.hers.calls.act(town.call_id, UserId("she"), events.HungUp)
    await town.deliver()

    for node in (town.hers, town.his):
        said = [type_ for type_, _ in node.person.heard]
        assert "call.ended" in said
        assert not {"call.offer", "call.answer", "call.candidates", "call.negotiation_failed"} & set(said)
