"""From the first word to the last message: two tabs meet, see each other, stay in touch, and write to each other."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import ViewportSize, expect

from tests.e2e.tabs import (
    LEO,
    MAYA,
    PATIENCE_MS,
    PHONE,
    SHOWS_NO_PICTURE,
    SHOWS_PICTURE,
    OpenTab,
    Tab,
    allow_video,
)

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LAPTOP: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 360, "height": 740}


async def test_two_strangers_become_acquainted_and_write_to_each_other(open_tab: OpenTab) -> None:
    """Match, voice, video both ways and one way, taken back at once, a connection, and a conversation that survives."""
    her, him = await asyncio.gather(open_tab(MAYA, viewport=PHONE), open_tab(LEO, viewport=LAPTOP))
    await they_meet_when_she_is_back(her, him)
    await asyncio.gather(her.hears(), him.hears())
    await his_address_is_told_honestly(him)

    await him.press("video")
    await her.says("veil-text", "Hidden until you say yes")
    await him.says("veil-text", "Hidden until Maya says yes")
    await asyncio.gather(her.photo("chat-1-veiled"), him.photo("chat-1-veiled"))
    assert [await shown_pictures(tab) for tab in (her, him)] == [[], []], (
        "nothing is shown before she allows it"
    )
    await allow_video(her, "both")
    await asyncio.gather(her.sees(), him.sees())
    await asyncio.gather(her.until(SHOWS_PICTURE), him.until(SHOWS_PICTURE))

    assert await her.page.evaluate(TAKE_BACK) == {"camera": "ended", "open": None, "picture": None}
    await asyncio.gather(her.until(SHOWS_NO_PICTURE), him.until(SHOWS_NO_PICTURE))
    assert await him.page.evaluate("document.getElementById('remote-video').srcObject") is None
    await him.until("() => window.__minuet.client.media.camera === null")
    await asyncio.gather(her.hears(), him.hears())

    await her.press("video")
    await her.at("direction-receive").check(force=True)
    await her.press("video-approve")
    await him.press("ask-camera-yes")
    await her.sees()
    assert await her.page.evaluate("window.__minuet.call.cameraOn") is False
    assert all(await shown_pictures(her)), "no picture was ever shown that was not allowed"
    assert all(await shown_pictures(him))

    await her.press("stay")
    await him.toasts("stay in touch")
    await him.press("hangup")
    await asyncio.gather(her.shows("ended"), him.shows("ended"))
    await expect(her.at("write")).to_be_visible(timeout=PATIENCE_MS)
    assert await her.at("toast").count() == 0, "what passes goes with its screen"
    await her.photo("chat-2-ended")

    await they_write(her, him)
    await she_comes_back_to_what_she_missed(her, him)
    await she_leaves_for_good(her, him)


async def they_meet_when_she_is_back(her: Tab, him: Tab) -> None:
    """While she is away she is nobody's match, though both wait for each other."""
    await her.start()
    await her.shows("searching")
    await her.press("away")
    await her.says("searching-title", "Paused")
    await her.photo("chat-0-away")
    await him.start()
    await him.shows("searching")
    await asyncio.sleep(1.0)
    assert await him.page.evaluate("window.__minuet.call") is None

    await her.press("away")
    await asyncio.gather(her.in_state("live"), him.in_state("live"))


async def his_address_is_told_honestly(him: Tab) -> None:
    """There is no relay here, so the page must not claim one."""
    await him.says("address", "Your address is not hidden")
    await him.press("address")
    await expect(him.at("dialog-address")).to_contain_text("Maya's device can learn your address")
    await him.photo("chat-0-address")
    await him.press("address-close")


async def they_write(her: Tab, him: Tab) -> None:
    """She begins; he finds it by its count, and reads, types and answers."""
    await her.press("write")
    await expect(her.at("talk-begin")).to_be_visible(timeout=PATIENCE_MS)
    await her.photo("chat-3-empty")
    await write(her, "Hello Leo!")
    await write(her, "What was the name of that place by the river?")
    await expect(her.at("bubble-state")).to_have_text("Delivered", timeout=PATIENCE_MS)

    await expect(him.at("chats-unread")).to_have_text("2", timeout=PATIENCE_MS)
    await him.press("chats-open")
    await him.photo("chat-4-list")
    # From the heading, where the focus is, one key leads to the first person, and one more to where one writes.
    await him.page.keyboard.press("Tab")
    await expect(him.at("person")).to_be_focused()
    await him.page.keyboard.press("Enter")
    await expect(him.at("draft")).to_be_focused()
    await reads(him, "Hello Leo!", "What was the name of that place by the river?")
    await him.says("talk-presence", "Online")
    await expect(her.at("bubble-state")).to_have_text("Read", timeout=PATIENCE_MS)
    await him.at("draft").press_sequentially("Kaf")
    await her.says("talk-typing", "Leo is typing")
    await him.at("draft").fill("Kaffeehaus am Fluss")
    await him.page.keyboard.press("Enter")
    await her.announces("Leo: Kaffeehaus am Fluss")
    await asyncio.gather(her.photo("chat-5-talking"), him.photo("chat-5-talking"))


async def she_comes_back_to_what_she_missed(her: Tab, him: Tab) -> None:
    """A page loaded again has the history; one that was elsewhere has the count, and shows where the new begins."""
    await him.page.reload()
    await reads(him, "Hello Leo!", "What was the name of that place by the river?", "Kaffeehaus am Fluss")

    await her.press("talk-back")
    await expect(her.at("person")).to_be_focused()
    await her.press("chats-back")
    await her.shows("ended")
    await write(him, "On Thursdays somebody plays the piano.")
    await write(him, "Shall we?")
    await expect(her.at("chats-unread")).to_have_text("2", timeout=PATIENCE_MS)
    await her.page.reload()
    await expect(her.at("chats-unread")).to_have_text("2", timeout=PATIENCE_MS)
    await her.page.set_viewport_size(NARROW)
    await her.press("chats-open")
    await her.photo("chat-6-unread")
    await her.at("person").click()
    await reads(
        her,
        "Hello Leo!",
        "What was the name of that place by the river?",
        "Kaffeehaus am Fluss",
        "On Thursdays somebody plays the piano.",
        "Shall we?",
    )
    await her.says("bubbles", "New")
    await her.photo("chat-7-new")
    await expect(him.at("bubble-state")).to_have_text("Read", timeout=PATIENCE_MS)
    await expect(her.at("chats-unread")).to_be_hidden()


async def she_leaves_for_good(her: Tab, him: Tab) -> None:
    """Deleting asks once more; then the conversation is gone for her, and he learns it when he writes."""
    await her.press("talk-safety")
    await expect(her.at("dialog-safety")).to_be_visible()
    await her.photo("chat-8-safety")
    await her.press("remove")
    await expect(her.at("dialog-remove")).to_be_visible()
    await her.press("remove-yes")
    await her.toasts("The conversation with Leo is gone")
    await expect(her.at("person")).to_have_count(0, timeout=PATIENCE_MS)

    await write(him, "Are you there?", kept=False)
    await expect(him.at("talk-over")).to_be_visible(timeout=PATIENCE_MS)
    await him.photo("chat-9-over")
    assert await her.rest("/connections") == []


async def write(tab: Tab, text: str, *, kept: bool = True) -> None:
    """Says something; with `kept` returns when the server has it."""
    await tab.at("draft").fill(text)
    await tab.press("send")
    if kept:
        await tab.until(KEPT, text)


async def reads(tab: Tab, *texts: str) -> None:
    """The conversation is exactly this, in this order."""
    await expect(tab.at("bubbles").locator(".bubble__text")).to_have_text(list(texts), timeout=PATIENCE_MS)


async def shown_pictures(tab: Tab) -> list[Any]:
    """Whether the peer might be seen, at each moment at which the page showed a picture."""
    pictures: list[Any] = await tab.page.evaluate("window.__witness.pictures")
    return pictures


# All in one go: nothing that the server says can come in between.
TAKE_BACK = """
() => {
  const { media } = window.__minuet.client;
  const camera = media.camera;
  document.getElementById('video').click();
  return { camera: camera.readyState, open: media.camera, picture: document.getElementById('remote-video').srcObject };
}
"""
KEPT = """
(text) => [...document.querySelectorAll('.bubble[data-mine][data-state=sent] .bubble__text')].some(({ textContent }) => textContent === text)
"""
