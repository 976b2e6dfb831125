"""Relays from node to node: the recipient's node judges again, by what it knows, and reloads where it knows less."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from base.errors import ErrorCode
from base.ids import UserId
from base.policy import IntentPolicy, IpPrivacy
from signaling.call import events
from signaling.call.record import decode, encode
from signaling.candidates import Outcome
from signaling.local_call import LocalCalls
from signaling.node_frames import CallCommitted, Relayed, encode_frame
from signaling.ports import StoredCall
from signaling.protocol.messages import call as wire
from signaling.sdp import SdpRefused
from storage.redis.keys import Keys
from tests.fixtures.sdp import VOICE, audio, description, video
from tests.integration.hub.town import Town, opened_town

WITH_VIDEO = description(audio(), video())


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    """A live call by voice, each side on a node of its own."""
    async with opened_town(redis_url, IntentPolicy()) as opened:
        yield opened


@pytest.fixture
async def hidden_town(redis_url: str) -> AsyncIterator[Town]:
    """The same, of an intent that hides addresses."""
    async with opened_town(redis_url, IntentPolicy(ip_privacy=IpPrivacy.RELAY)) as opened:
        yield opened


async def window_closes(town: Town) -> None:
    """Both nodes come to know that his video is off."""
    async with asyncio.timeout(10):
        while any(town.call_at(node).view.b.video_off_at is not None for node in (town.hers, town.his)):
            await asyncio.sleep(0.01)
            await town.deliver()


async def test_a_revocation_beats_an_offer_on_its_way(town: Town) -> None:
    """His node let it pass, hers has heard of the revocation: she never sees it, and he is told."""
    await town.allow_video()

    town.his.send(town.offer(1, WITH_VIDEO))
    await town.hers.calls.act(town.call_id, UserId("she"), events.VideoRevoked)
    await town.deliver(Relayed)

    assert town.hers.person.of("call.offer") == []
    [failed] = town.his.person.of("call.negotiation_failed")
    assert (failed["negotiation"], failed["of"], failed["code"]) == (1, "self", "video_not_allowed")
    assert not town.call_at(town.his).negotiations.is_open


async def test_a_revocation_beats_an_answer_on_its_way(town: Town) -> None:
    """Both are told that the negotiation failed, and the window stays open: nothing says that video is off."""
    await town.allow_video()
    await town.negotiate(2, WITH_VIDEO)
    town.hers.send(town.offer(3, WITH_VIDEO))
    await town.deliver()
    town.forget()

    town.his.send(town.answer(3, WITH_VIDEO))
    await town.hers.calls.act(town.call_id, UserId("she"), events.VideoRevoked)
    await town.deliver(Relayed)

    assert town.hers.person.of("call.answer") == []
    for person in (town.hers.person, town.his.person):
        assert [failed["code"] for failed in person.of("call.negotiation_failed")] == ["video_not_allowed"]
    await town.deliver()
    assert town.call_at(town.hers).view.b.video_off_at is not None
    assert town.call_at(town.his).view.b.video_off_at is not None


async def test_a_revocation_beats_the_first_answer_with_video(town: Town) -> None:
    """His node has let it pass, so he may be sending: the window closes by an answer without video and nothing else."""
    await town.allow_video()
    town.hers.send(town.offer(3, WITH_VIDEO))
    await town.deliver()
    town.forget()

    town.his.send(town.answer(3, WITH_VIDEO))
    await town.hers.calls.act(town.call_id, UserId("she"), events.VideoRevoked)
    await town.deliver(Relayed)
    # What is counted of the refusal is one more change of the record, of which both nodes hear.
    await town.hers.calls.decide(
        town.call_at(town.hers), events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, 1)
    )
    await asyncio.sleep(0.1)
    await town.deliver()

    assert [failed["code"] for failed in town.his.person.of("call.negotiation_failed")] == [
        "video_not_allowed"
    ]
    for node in (town.hers, town.his):
        assert town.call_at(node).view.b.video_off_at is not None

    await town.negotiate(4, VOICE)

    await window_closes(town)


async def test_an_answer_that_stops_video_closes_the_window_on_both_nodes(town: Town) -> None:
    """Whichever of them sees it pass, the record says so."""
    await town.allow_video()
    await town.negotiate(2, WITH_VIDEO)
    await town.hers.calls.act(town.call_id, UserId("she"), events.VideoRevoked)
    await town.deliver()

    await town.negotiate(3, description(audio(), video("inactive")))

    await window_closes(town)


async def test_a_node_that_knows_less_reloads_before_it_judges(town: Town) -> None:
    """She allows video and offers it; of the permission his node has not heard, but the offer names its version."""
    await town.hers.calls.decide(town.call_at(town.hers), events.VideoApproved("a", "both"))
    town.hers.send(town.offer(2, WITH_VIDEO))
    await town.deliver(Relayed)

    assert [offer["sdp"] for offer in town.his.person.of("call.offer")] == [WITH_VIDEO]
    assert town.call_at(town.his).allowance("b").send_video
    assert any(isinstance(frame, CallCommitted) for _, frame in town.bus.way)


async def test_a_revocation_reaches_the_other_node_with_the_next_relay(town: Town) -> None:
    """The frame that says so is lost; her offer without video brings his node up to date before it is relayed."""
    await town.allow_video()
    await town.hers.calls.act(town.call_id, UserId("she"), events.VideoRevoked)
    town.bus.way.clear()

    town.hers.send(town.offer(2, VOICE))
    await town.deliver(Relayed)

    assert len(town.his.person.of("call.offer")) == 1
    with pytest.raises(SdpRefused) as caught:
        town.his.send(town.offer(1, WITH_VIDEO))
    assert caught.value.code == "video_not_allowed"


async def test_what_waits_for_the_record_keeps_its_order(town: Town) -> None:
    """Offer and candidates come together while his node reloads."""
    await town.hers.calls.decide(town.call_at(town.hers), events.VideoApproved("a", "both"))
    line = "candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host"
    candidates = [wire.IceCandidate(candidate=line, mid="0")]
    town.hers.send(town.offer(2, WITH_VIDEO))
    town.hers.send(wire.CallCandidates(call_id=town.call_id, negotiation=2, candidates=candidates))
    for _, frame in town.bus.way:
        if isinstance(frame, Relayed):
            town.his.receive(encode_frame(frame))
    await town.his.settle()

    relays = [type_ for type_, _ in town.his.person.heard if type_ in ("call.offer", "call.candidates")]
    assert relays == ["call.offer", "call.candidates"]


async def test_a_record_that_could_not_be_read_holds_up_no_later_relay(town: Town) -> None:
    """Redis holds something that his node cannot read; what comes when it can again is delivered."""
    await town.hers.calls.decide(town.call_at(town.hers), events.VideoApproved("a", "both"))
    key = Keys().call(town.call_id)
    record = await town.redis.dump(key)
    assert record is not None
    await town.redis.hset(key, mapping=dict.fromkeys(await town.redis.hkeys(key), b"?"))
    town.hers.send(town.offer(2, WITH_VIDEO))
    await town.deliver(Relayed)

    assert town.his.person.of("call.offer") == []

    await town.redis.restore(key, 0, record, replace=True)
    town.hers.send(town.offer(3, WITH_VIDEO))
    await town.deliver(Relayed)

    assert [offer["negotiation"] for offer in town.his.person.of("call.offer")] == [3]


async def test_an_answer_that_comes_too_late_on_the_other_node_is_told_to_its_sender(town: Town) -> None:
    """The offer has run out there while the answer was on its way; she has rolled back, he has to hear of it."""
    town.hers.send(town.offer(3, VOICE))
    await town.deliver()
    town.forget()

    town.his.send(town.answer(3, VOICE))
    town.hers.relays.expire(town.call_at(town.hers), town.hers.clock.now_ms() + 60_000)
    await town.deliver()

    assert town.hers.person.of("call.answer") == []
    [failed] = town.his.person.of("call.negotiation_failed")
    assert (failed["negotiation"], failed["of"], failed["code"]) == (3, "peer", "stale_negotiation")
    assert [failed["code"] for failed in town.hers.person.of("call.negotiation_failed")] == ["timeout"]


async def test_an_offer_that_runs_out_with_the_call_is_not_spoken_of(town: Town) -> None:
    """Media is over for both: the end is the last that they hear."""
    town.hers.send(town.offer(3, VOICE))
    await town.deliver()
    await town.hers.calls.act(town.call_id, UserId("she"), events.HungUp)
    await town.deliver()

    for node in (town.hers, town.his):
        node.relays.expire(town.call_at(node), node.clock.now_ms() + 60_000)
    await town.deliver()

    assert town.hers.person.of("call.negotiation_failed") == []
    assert town.his.person.of("call.negotiation_failed") == []


async def test_candidates_are_counted_where_they_come_in(town: Town) -> None:
    """Both nodes look at them, one counts what passes."""
    candidates = [wire.IceCandidate(candidate=OWN, mid="0")]
    before = [node.metrics.candidates[Outcome.PASSED] for node in (town.hers, town.his)]
    town.hers.send(town.offer(3, VOICE + f"a={OWN}\r\n"))
    town.hers.send(wire.CallCandidates(call_id=town.call_id, negotiation=3, candidates=candidates))
    await town.deliver()
    after = [node.metrics.candidates[Outcome.PASSED] for node in (town.hers, town.his)]

    assert len(town.his.person.of("call.offer", "call.candidates")) == 2
    assert [late - early for late, early in zip(after, before, strict=True)] == [2, 0]


OWN = "candidate:1 1 udp 2122260223 203.0.113.9 50000 typ host"
RELAYED = "candidate:1 1 udp 41885439 198.51.100.7 50004 typ relay raddr 203.0.113.9 rport 40004"


async def test_what_another_node_let_pass_is_filtered_again(hidden_town: Town) -> None:
    """A node of an older release hides nothing; the recipient's own does."""
    town = hidden_town
    version = town.call_at(town.hers).view.version
    open_sdp = VOICE.replace("m=audio 9", "m=audio 50000") + f"a={OWN}\r\na={RELAYED}\r\n"
    offer = {"call_id": town.call_id, "negotiation": 2, "sdp": open_sdp}
    batch = {
        "call_id": town.call_id,
        "negotiation": 2,
        "of": "peer",
        "candidates": [{"candidate": OWN, "mid": "0"}, {"candidate": RELAYED, "mid": "0"}],
    }

    town.bus.way.append((town.his.id, Relayed(town.call_id, "b", version, "call.offer", offer)))
    town.bus.way.append((town.his.id, Relayed(town.call_id, "b", version, "call.candidates", batch)))
    await town.deliver()

    [heard] = town.his.person.of("call.offer")
    [trickled] = town.his.person.of("call.candidates")
    assert "203.0.113.9" not in str(town.his.person.heard)
    assert heard["sdp"].count("a=candidate:") == 1
    assert "198.51.100.7 50004 typ relay raddr 0.0.0.0 rport 0" in heard["sdp"]
    assert "m=audio 9 " in heard["sdp"]
    [candidate] = trickled["candidates"]
    assert candidate["candidate"].endswith("198.51.100.7 50004 typ relay raddr 0.0.0.0 rport 0")


async def test_an_address_leaves_no_node_where_they_are_hidden(hidden_town: Town) -> None:
    """Nothing of it is on the way between the nodes; what was dropped is counted and nobody is told."""
    town = hidden_town
    town.hers.send(town.offer(2, VOICE + f"a={OWN}\r\n"))
    own = [wire.IceCandidate(candidate=OWN, mid="0")]
    town.hers.send(wire.CallCandidates(call_id=town.call_id, negotiation=2, candidates=own))

    assert "203.0.113.9" not in str(town.bus.way)
    assert [frame.type for _, frame in town.bus.way if isinstance(frame, Relayed)] == ["call.offer"]
    assert town.hers.metrics.candidates[Outcome.NOT_RELAYED] == 2
    assert town.hers.person.heard == []

    end = wire.CallCandidates(call_id=town.call_id, negotiation=2, candidates=own, complete=True)
    town.hers.send(end)
    await town.deliver()
    [trickled] = town.his.person.of("call.candidates")
    assert (trickled["candidates"], trickled["complete"]) == ([], True)


def _as_an_older_release_commits(stored: StoredCall) -> StoredCall:
    """The record after a commit by a process that has not heard of hidden addresses: what it does not know is gone."""
    record = msgspec.msgpack.decode(encode(stored.call))
    del record["policy"]["ip_privacy"]
    record["version"] += 1
    return StoredCall(decode(msgspec.msgpack.encode(record)), "another")


async def test_a_commit_of_an_older_release_shows_no_address(hidden_town: Town) -> None:
    """In the middle of a rolling update the rule is lost from the record; nodes that know it go on, and write it down."""
    town = hidden_town
    forgetful = _as_an_older_release_commits(town.call_at(town.hers).stored)
    assert not forgetful.call.policy.hides_addresses
    frame = CallCommitted(town.call_id, encode(forgetful.call), forgetful.rev, [])
    town.hers.receive(encode_frame(frame))
    town.his.receive(encode_frame(frame))
    await town.hers.settle()

    town.hers.send(town.offer(2, VOICE + f"a={OWN}\r\n"))
    own = [wire.IceCandidate(candidate=OWN, mid="0")]
    town.hers.send(wire.CallCandidates(call_id=town.call_id, negotiation=2, candidates=own))
    await town.deliver()

    assert town.call_at(town.hers).stored.call.version == forgetful.call.version
    assert len(town.his.person.of("call.offer")) == 1
    assert "203.0.113.9" not in str(town.his.person.heard)


async def test_a_node_that_hides_addresses_takes_silence_for_that(hidden_town: Town) -> None:
    """It loads the record after it was lost from it, or meets a call that an older release began."""
    forgetful = _as_an_older_release_commits(hidden_town.call_at(hidden_town.hers).stored)
    clock = hidden_town.hers.clock
    hides = LocalCalls(clock, {"dating": IntentPolicy(ip_privacy=IpPrivacy.RELAY)})
    shows = LocalCalls(clock, {"dating": IntentPolicy(ip_privacy=IpPrivacy.OFF)})
    policy = msgspec.structs.replace(forgetful.call.policy, ip_privacy=IpPrivacy.OFF)
    said = StoredCall(msgspec.structs.replace(forgetful.call, policy=policy), "another")

    assert hides.keep(forgetful).stored.call.policy.hides_addresses
    assert hides.of(forgetful).view.policy.hides_addresses
    assert not shows.keep(forgetful).view.policy.hides_addresses
    assert not hides.of(said).view.policy.hides_addresses
