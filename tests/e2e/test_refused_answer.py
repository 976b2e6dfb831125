"""Two tabs of a real browser, and an answer that the server does not pass on: both roll back, and can negotiate again.

Her page was changed: the next answer with video that it makes says something else than its connection would do.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import WebSocket

from tests.e2e.tabs import LEO, MAYA, SHOWS_NO_PICTURE, OpenTab, Persona, Tab, allow_video, meet
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures.deployment import Deployment, Lasting

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# Once, and only what is sent: the connection itself knows of nothing. What it would be is `inactive` or `recvonly`.
CHANGED_ANSWER = """
const createAnswer = RTCPeerConnection.prototype.createAnswer;
RTCPeerConnection.prototype.createAnswer = async function (...options) {
  const { type, sdp } = await createAnswer.apply(this, options);
  const change = sdp.includes("m=video") ? CHANGES[window.__change] : null;
  if (!change) return { type, sdp };
  window.__change = null;
  window.__changedWith = this;
  return { type, sdp: change(sdp) };
};
const CHANGES = {
  wrongMid: (sdp) => sdp.replace("a=mid:1", "a=mid:9").replace("BUNDLE 0 1", "BUNDLE 0 9"),
  sends: (sdp) => sdp.replace("a=recvonly", "a=sendrecv"),
};
"""
NEW_CONNECTION = "() => window.__minuet.pc !== window.__changedWith"


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", "worker", config=UNHURRIED, MINUET_ALLOWED_ORIGINS="*") as deployment:
        yield deployment


async def listened(open_tab: OpenTab, persona: Persona) -> tuple[Tab, list[dict[str, Any]]]:
    """A tab whose answers can be changed, and what its sockets receive."""
    tab = await open_tab(persona, witness=CHANGED_ANSWER)
    received: list[dict[str, Any]] = []

    def watch(socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: received.append(json.loads(payload)))

    tab.page.on("websocket", watch)
    return tab, received


def data_of(received: list[dict[str, Any]], type_: str) -> list[dict[str, Any]]:
    return [message["data"] for message in received if message["type"] == type_]


async def test_after_an_answer_of_the_wrong_shape_video_comes_by_itself(open_tab: OpenTab) -> None:
    """He rolls his offer back and makes it again, she answers as she should; later an offer of hers passes as well."""
    (her, to_her), (him, to_him) = await asyncio.gather(listened(open_tab, MAYA), listened(open_tab, LEO))
    await meet(her, him)
    await asyncio.gather(her.hears(), him.hears())

    await her.page.evaluate("window.__change = 'wrongMid'")
    await him.press("video")
    await allow_video(her, "receive")
    await her.sees(10)
    await asyncio.gather(her.hears(), him.hears())
    await her.press("video")
    await her.until(SHOWS_NO_PICTURE)
    await asyncio.gather(her.hears(), him.hears())

    refused = [("peer", "answer_mismatch")], [("self", "answer_mismatch")]
    assert tuple(map(failures, (to_her, to_him))) == refused
    assert await her.page.evaluate(NEW_CONNECTION) is False
    assert data_of(to_her, "call.reset") == data_of(to_him, "call.reset") == []
    assert len(data_of(to_him, "call.offer")) >= 1, "nothing was offered by her"


async def test_after_an_answer_that_sends_too_much_both_talk_on_and_can_see_again(open_tab: OpenTab) -> None:
    """Her answer would send though she allowed only him: the voice goes on over the same connection, and so does video,
    once she has taken it back and allowed it again."""
    (her, to_her), (him, to_him) = await asyncio.gather(listened(open_tab, MAYA), listened(open_tab, LEO))
    await meet(her, him)

    await her.page.evaluate("window.__change = 'sends'")
    await him.press("video")
    await allow_video(her, "receive")
    await asyncio.gather(her.hears(50), him.hears(50))
    frames_before = (await her.stats())["video"]["frames"]

    await her.press("video")
    await him.press("video")
    await allow_video(her, "receive")
    await her.sees(10)
    await asyncio.gather(her.hears(), him.hears())

    assert tuple(map(failures, (to_her, to_him))) == (
        [("peer", "video_not_allowed")],
        [("self", "video_not_allowed")],
    )
    assert frames_before == 0
    assert await her.page.evaluate(NEW_CONNECTION) is False
    assert data_of(to_her, "call.reset") == data_of(to_him, "call.reset") == []


def failures(received: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Whose offers failed, and by which code."""
    return [(failed["of"], failed["code"]) for failed in data_of(received, "call.negotiation_failed")]
