"""The window after a revocation: it asks for an answer without video, but only where there is video to stop."""

import pytest

from tests.e2e.scripted import Pair, pair_up
from tests.fixtures.deployment import Deploy, People
from tests.fixtures.sdp import VOICE, audio, description, video

CONFIG = """
[intents.dating]
call_seconds = {call_s}
decide_after_s = 0
revoke_window_s = {window_s}
"""
WITH_VIDEO = description(audio(), video())
TO_ITS_CLOCK = (6.0, 0.5)
"""Seconds of a call and of the window in it: long enough that all is said before its clock ends it."""
BY_THE_WINDOW = (120.0, 0.5)
"""What ends it is the window: its clock would not for long."""
WITH_TIME_TO_ANSWER = (12.0, 5.0)


@pytest.fixture
async def pair(request: pytest.FixtureRequest, deploy: Deploy, people: People) -> Pair:
    """Two who talk, and may see each other."""
    call_s, window_s = request.param
    deployment = await deploy("serve --all-in-one", config=CONFIG.format(call_s=call_s, window_s=window_s))
    pair = await pair_up(people, deployment.url)
    await pair.talk()
    await pair.her.request("video.approve", {**pair.call, "direction": "both"})
    await pair.him.wait_for("video.allowed", **pair.call)
    return pair


@pytest.mark.parametrize("pair", [TO_ITS_CLOCK], indirect=True)
async def test_video_that_never_began_needs_no_answer_to_be_taken_back(pair: Pair) -> None:
    """Allowed and revoked before anybody negotiated it: the call runs to its clock."""
    await pair.her.request("video.revoke", pair.call)

    ended = await pair.him.wait_for("call.ended", **pair.call)

    assert ended["reason"] == "completed"


@pytest.mark.parametrize("pair", [TO_ITS_CLOCK], indirect=True)
async def test_an_answer_that_crosses_the_revocation_is_refused_and_the_call_goes_on(pair: Pair) -> None:
    """His video offer is open when she revokes: no answer to it passes any more, so nothing is left to stop."""
    await pair.him.request("call.offer", {**pair.call, "negotiation": 1, "sdp": WITH_VIDEO})
    await pair.her.wait_for("call.offer", **pair.call, negotiation=1)

    await pair.her.request("video.revoke", pair.call)
    late = {**pair.call, "negotiation": 1, "of": "peer", "sdp": WITH_VIDEO}
    await pair.her.send("call.answer", late, 900)
    failed = await pair.him.wait_for("call.negotiation_failed", **pair.call)
    ended = await pair.him.wait_for("call.ended", **pair.call)

    assert failed["code"] == "video_not_allowed"
    assert ended["reason"] == "completed"


@pytest.mark.parametrize("pair", [BY_THE_WINDOW], indirect=True)
async def test_video_that_is_not_stopped_in_time_ends_the_call(pair: Pair) -> None:
    """It flows, she revokes, and nobody answers without it: the window ends, and with it the call."""
    await pair.negotiate(pair.her, pair.him, 2, WITH_VIDEO)

    await pair.her.request("video.revoke", pair.call)

    assert (await pair.him.wait_for("call.ended", **pair.call))["reason"] == "video_revoked"


@pytest.mark.parametrize("pair", [WITH_TIME_TO_ANSWER], indirect=True)
async def test_an_answer_without_video_closes_the_window(pair: Pair) -> None:
    """It flows, she revokes and offers without it, he answers: the call goes on."""
    await pair.negotiate(pair.her, pair.him, 2, WITH_VIDEO)
    await pair.her.request("video.revoke", pair.call)

    await pair.negotiate(pair.her, pair.him, 3, description(audio(), video("inactive")))

    assert (await pair.him.wait_for("call.ended", **pair.call))["reason"] == "completed"


@pytest.mark.parametrize("pair", [BY_THE_WINDOW], indirect=True)
async def test_voice_before_video_counts_for_nothing_once_video_flows(pair: Pair) -> None:
    """What the first answer said of video is forgotten with the next: a window is asked for again."""
    await pair.negotiate(pair.him, pair.her, 1, VOICE)
    await pair.negotiate(pair.her, pair.him, 2, WITH_VIDEO)

    await pair.her.request("video.revoke", pair.call)

    assert (await pair.him.wait_for("call.ended", **pair.call))["reason"] == "video_revoked"
