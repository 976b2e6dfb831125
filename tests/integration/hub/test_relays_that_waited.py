"""Relays that passed this node's gate and then went after a session that was on its way here: judged again when they come
back."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from base.ids import SessionId, UserId
from base.policy import IntentPolicy, IpPrivacy
from signaling.call import events
from signaling.node_frames import Relayed
from signaling.protocol.messages import call as wire
from tests.fixtures.sdp import VOICE, audio, description, video
from tests.integration.hub.town import Listener, Town, opened_town

WITH_VIDEO = description(audio(), video())
HOST = "candidate:1 1 udp 2122260223 203.0.113.77 50000 typ host"


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """A live call by voice, each side on a node of its own."""
    async with opened_town(redis_url, IntentPolicy(max_offers=50)) as opened:
        yield opened


@pytest.fixture
async def hidden_town(redis_url: str) -> AsyncIterator[Town]:
    """The same, of an intent that hides addresses."""
    async with opened_town(redis_url, IntentPolicy(max_offers=50, ip_privacy=IpPrivacy.RELAY)) as opened:
        yield opened


def come_to_her(town: Town, monkeypatch: pytest.MonkeyPatch) -> Any:
    """His session moves to her node; the record still names the one that it comes from."""
    him = Listener("he")
    sessions: dict[SessionId, Any] = {
        SessionId("she-session"): town.hers.person,
        SessionId("he-session"): him,
    }
    router = town.hers.router
    router.welcome(SessionId("he-session"))
    monkeypatch.setattr(router._hub, "session", sessions.get)
    return him


def on_the_way(town: Town) -> list[Relayed]:
    """What she has sent to the node where he was, which sends it after him."""
    return [frame for _, frame in town.bus.way if isinstance(frame, Relayed)]


async def test_an_offer_finds_him_where_he_has_come(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass still passes, with its candidates behind it, and may be answered there."""
    candidates = wire.CallCandidates(
        call_id=town.call_id,
        negotiation=2,
        of="self",
        candidates=[wire.IceCandidate(candidate=HOST, mid="0")],
    )
    town.hers.send(town.offer(2, VOICE))
    town.hers.send(candidates)
    him = come_to_her(town, monkeypatch)
    for frame in on_the_way(town):
        town.hers.relays.arrived(frame)
    town.hers.relays.relay(him, town.answer(2, VOICE))

    assert [type_ for type_, _ in him.heard] == ["call.offer", "call.candidates"]
    assert him.of("call.offer")[0]["sdp"] == VOICE
    assert him.of("call.candidates")[0]["candidates"] == [{"candidate": HOST, "mid": "0", "ufrag": None}]
    assert town.hers.person.of("call.answer")[0]["negotiation"] == 2


async def test_a_revocation_beats_an_offer_that_goes_after_him(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was allowed when she sent it; he has taken it back by the time it finds him: he never sees it, and she is told."""
    await town.allow_video()
    town.hers.send(town.offer(2, WITH_VIDEO))
    waiting = on_the_way(town)
    await town.hers.calls.act(town.call_id, UserId("he"), events.VideoRevoked)
    him = come_to_her(town, monkeypatch)
    for frame in waiting:
        town.hers.relays.arrived(frame)

    assert him.of("call.offer") == []
    [failed] = town.hers.person.of("call.negotiation_failed")
    assert (failed["negotiation"], failed["of"], failed["code"]) == (2, "self", "video_not_allowed")
    assert not town.call_at(town.hers).negotiations.is_open


async def test_a_revocation_beats_an_answer_that_goes_after_him(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are told that it failed, since she may have applied it; that she may be sending is not forgotten."""
    await town.allow_video()
    town.his.send(town.offer(2, WITH_VIDEO))
    await town.deliver()
    town.hers.send(town.answer(2, WITH_VIDEO))
    waiting = on_the_way(town)
    await town.hers.calls.act(town.call_id, UserId("he"), events.VideoRevoked)
    him = come_to_her(town, monkeypatch)
    for frame in waiting:
        town.hers.relays.arrived(frame)

    assert him.of("call.answer") == []
    assert [(f["negotiation"], f["of"]) for f in him.of("call.negotiation_failed")] == [(2, "self")]
    assert [(f["negotiation"], f["of"]) for f in town.hers.person.of("call.negotiation_failed")] == [
        (2, "peer")
    ]
    assert town.call_at(town.hers).negotiations.may_have_video


async def test_nothing_of_before_a_reset_finds_him(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both build new connections: an offer for the old ones would be answered with them."""
    town.hers.send(town.offer(2, VOICE))
    waiting = on_the_way(town)
    await town.hers.calls.decide(town.call_at(town.hers), events.MediaFailed("a"))
    him = come_to_her(town, monkeypatch)
    for frame in waiting:
        town.hers.relays.arrived(frame)

    assert him.of("call.offer") == []


async def test_addresses_are_hidden_from_who_has_moved(
    hidden_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that was made where nobody filters, by an older release say, is filtered where it is delivered."""
    town = hidden_town
    town.hers.send(town.offer(2, VOICE))
    [frame] = on_the_way(town)
    data = {**frame.data, "sdp": f"{VOICE}a={HOST}\r\n"}
    trickled = Relayed(
        town.call_id,
        "b",
        frame.version,
        "call.candidates",
        {
            "call_id": town.call_id,
            "negotiation": 2,
            "of": "peer",
            "candidates": [{"candidate": HOST, "mid": "0"}],
            "complete": False,
        },
    )
    him = come_to_her(town, monkeypatch)
    town.hers.relays.arrived(msgspec.structs.replace(frame, data=data))
    town.hers.relays.arrived(trickled)

    assert "203.0.113.77" not in str(him.heard)
    assert len(him.of("call.offer")) == 1
