"""What one participant may send in a call, over real sockets: refusals that help, and an end where nothing helps."""

import pytest

from loadtests.swarm.client import RequestRefused
from tests.e2e.scripted import Pair, pair_up
from tests.fixtures.deployment import Deploy, People
from tests.fixtures.refusals import refusal, refused
from tests.fixtures.sdp import VOICE, audio, description, video

CONFIG = """
[intents.dating]
call_seconds = 60.0
revoke_window_s = 20.0
max_offers = 3
offers_s = 300.0
max_candidates = 5
signaling_bytes = 8000
"""
WITH_VIDEO = description(audio(), video())
WITHOUT_VIDEO = description(audio(), video("inactive"))


@pytest.fixture
async def pair(deploy: Deploy, people: People) -> Pair:
    """Two who talk; she has made one offer."""
    deployment = await deploy("serve --all-in-one", config=CONFIG)
    pair = await pair_up(people, deployment.url)
    await pair.talk()
    return pair


def offer(pair: Pair, number: int, sdp: str = VOICE) -> dict[str, object]:
    return {**pair.call, "negotiation": number, "sdp": sdp}


async def test_too_many_offers_are_told_when_to_come_back(pair: Pair) -> None:
    """And the other side's are not counted with them."""
    await pair.negotiate(pair.her, pair.him, 2)
    await pair.negotiate(pair.her, pair.him, 3)

    error = await refusal(pair.her, "call.offer", offer(pair, 4))

    assert error.code == "rate_limited"
    assert 0 < error.data["retry_after_ms"] <= 100_000
    await pair.negotiate(pair.him, pair.her, 1)


async def test_candidates_are_counted_one_by_one(pair: Pair) -> None:
    """Not by message: five in two messages are the most, and the call goes on."""
    candidates = [{"candidate": f"candidate:{n} 1 udp 1 192.0.2.1 9 typ host", "mid": "0"} for n in range(4)]
    await pair.her.request("call.candidates", {**pair.call, "negotiation": 1, "candidates": candidates})

    too_many = {**pair.call, "negotiation": 1, "candidates": candidates[:2]}

    assert await refused(pair.her, "call.candidates", too_many) == "rate_limited"
    await pair.her.request(
        "call.candidates", {**pair.call, "negotiation": 1, "candidates": candidates[:1], "complete": True}
    )


async def test_a_new_socket_finds_what_was_left(pair: Pair) -> None:
    """The budget is the call's: neither a resumed session nor a new one of the same device begins anew."""
    await pair.negotiate(pair.her, pair.him, 2)
    await pair.negotiate(pair.her, pair.him, 3)

    await pair.her.drop()
    await pair.her.resume(pair.her.account["access_token"])
    resumed = await refused(pair.her, "call.offer", offer(pair, 4))
    await pair.her.drop()
    await pair.her.start(pair.her.account["access_token"])
    anew = await refused(pair.her, "call.offer", offer(pair, 4))

    assert [resumed, anew] == ["rate_limited", "rate_limited"]


async def test_a_spent_total_ends_the_call_for_both_and_closes_no_socket(pair: Pair) -> None:
    """`signaling_limit`: both hear it, and the one who spent it may go on with something else."""
    number, code = 100, ""
    while not code:
        number += 1
        try:
            await pair.her.request("call.answer", {**pair.call, "negotiation": number, "sdp": VOICE})
        except RequestRefused as error:
            code = error.code if error.code != "stale_negotiation" else ""

    ended = [await side.wait_for("call.ended", **pair.call) for side in pair.both]

    assert code == "rate_limited"
    assert [told["reason"] for told in ended] == ["signaling_limit", "signaling_limit"]
    assert await refused(pair.her, "call.offer", offer(pair, 9)) == "call_ended"


async def test_a_revocation_is_carried_out_when_everything_else_is_used_up(pair: Pair) -> None:
    """She has no offers left when she takes video back: the one without it passes, and the call goes on."""
    await pair.her.request("video.approve", {**pair.call, "direction": "both"})
    await pair.negotiate(pair.her, pair.him, 2, WITH_VIDEO)
    await pair.negotiate(pair.her, pair.him, 3, WITH_VIDEO)
    assert await refused(pair.her, "call.offer", offer(pair, 4, WITH_VIDEO)) == "rate_limited"

    await pair.her.request("video.revoke", pair.call)
    await pair.negotiate(pair.her, pair.him, 4, WITHOUT_VIDEO)

    await pair.him.request("call.hangup", pair.call)
    assert (await pair.her.wait_for("call.ended", **pair.call))["reason"] == "hangup"
