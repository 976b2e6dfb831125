"""Two strangers at the demo page: two tabs of a real browser, a hub, a matchmaker and a worker between them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize, expect

from loadtests.swarm.client import Client, register
from minuet.embedded.server import free_port
from tests.e2e.tabs import (
    DESKTOP,
    LEO,
    MAYA,
    PATIENCE_MS,
    PHONE,
    SHOWS_NO_PICTURE,
    SHOWS_PICTURE,
    OpenTab,
    Tab,
    meet,
)
from tests.e2e.unhurried import UNHURRIED
from tests.e2e.waiting import until
from tests.fixtures.deployment import Deployment, Lasting

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# The one call that runs to its end: long enough for all that is done in it, and that the marks at 30 and 10 s pass.
FRIENDS_S = 48.0
CONFIG = f"""{UNHURRIED}
[intents.friends]
call_seconds = {FRIENDS_S}
proposed_s = 120
connecting_s = 120
video_request_s = 120
deciding_s = 120
revoke_window_s = 60
"""

SMALL_PHONE: ViewportSize = {"width": 320, "height": 568}
HOUR_FAST = "Date.now = ((now) => () => now() + 3_600_000)(Date.now.bind(Date));"


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", "worker", config=CONFIG, MINUET_ALLOWED_ORIGINS="*") as deployment:
        yield deployment


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(deployment: Deployment) -> AsyncIterator[Client]:
    """A man without a page, who does what the test tells him."""
    async with aiohttp.ClientSession() as http:
        account = await register(http, deployment.url, gender="male", first_name="Omar")
        client = Client(http, deployment.url)
        await client.start(account["access_token"])
        yield client
        await client.close()


@pytest.fixture
def own_origin(lasting: Lasting) -> Iterator[str]:
    """The origin of a hub that lets in nobody but its own page; its port has to be known before it starts."""
    # Of no range from which others get theirs: until the hub is there, it could be taken for any connection that is made.
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with lasting("serve", MINUET_PORT=str(port), MINUET_ALLOWED_ORIGINS=origin):
        yield origin


async def test_two_strangers_talk_see_each_other_and_stay_in_touch(open_tab: OpenTab) -> None:
    """From "who are you" to the end screen: voice both ways, video only while she allows it, a connection."""
    her, him = await asyncio.gather(open_tab(MAYA, viewport=PHONE), open_tab(LEO, viewport=DESKTOP))
    await asyncio.gather(her.photo("1-welcome"), him.photo("1-welcome"))
    await her.introduce()
    await her.photo("1-welcome-filled")
    assert await her.asked_devices() == [], "nobody has pressed anything that needs a microphone"

    await her.press("start")
    await her.shows("searching")
    await her.photo("2-searching")
    await him.start()
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    await asyncio.gather(her.photo("3-talking"), him.photo("3-talking"))
    assert await her.asked_devices() == ["audio"]
    assert await him.asked_devices() == ["audio"]
    await clock_is_right(her)
    await clock_is_right(him)

    await expect(him.at("stay")).to_be_hidden()
    await him.says("video", "Ask for video")
    await him.press("video")
    await expect(her.at("ask-video")).to_be_visible(timeout=PATIENCE_MS)
    await asyncio.gather(her.photo("4-asked"), him.photo("4-asked"))
    for tab in (her, him):
        assert (await tab.stats())["video"]["frames"] == 0
        assert await tab.asked_devices() == ["audio"], "no camera before she has approved"
    await her.press("ask-video-yes")
    await expect(her.at("dialog-video")).to_be_visible()
    await her.photo("5-sheet")
    await her.press("video-approve")
    await asyncio.gather(her.sees(), him.sees())
    await asyncio.gather(her.until(SHOWS_PICTURE), him.until(SHOWS_PICTURE))
    await asyncio.gather(her.photo("6-video"), him.photo("6-video"))

    await her.press("video")
    await asyncio.gather(her.until(SHOWS_NO_PICTURE), him.until(SHOWS_NO_PICTURE))
    for tab in (her, him):
        await tab.hears_and_sees_nothing()
        assert await tab.page.evaluate("window.__minuet.client.media.camera") is None
        await tab.in_state("live")
    await asyncio.gather(her.photo("7-revoked"), him.photo("7-revoked"))

    await her.press("stay")
    await asyncio.gather(her.toasts("stay in touch"), him.toasts("stay in touch"))
    await her.says("stay", "In touch")
    await asyncio.gather(her.photo("8-in-touch"), him.photo("8-in-touch"))
    await him.press("hangup")
    for tab in (her, him):
        await tab.shows("ended")
        await tab.says("ended-title", "You stay in touch")
        await tab.photo("9-ended")
    hers, his = await asyncio.gather(history(her), history(him))

    assert (hers["peer"]["first_name"], his["peer"]["first_name"]) == ("Leo", "Maya")
    assert hers["call_id"] == his["call_id"]
    assert hers["connected"]
    assert hers["connection_id"] == his["connection_id"]


CLOCK = "[window.__minuet.call.endsAt, document.getElementById('clock').textContent]"


async def clock_is_right(tab: Tab) -> None:
    """Asserts that what is shown is what is left by the server's clock, which on one machine is ours."""

    async def look() -> bool | None:
        before = time.time()
        ends_at, shown = await tab.page.evaluate(CLOCK)
        after = time.time()
        assert re.fullmatch(r"\d+:\d\d", shown), shown
        minutes, seconds = shown.split(":")
        left = int(minutes) * 60 + int(seconds)
        return ends_at / 1000 - after - 1.5 <= left <= ends_at / 1000 - before + 1.5 or None

    # A page that got no processor has not drawn for a while; one whose clock is wrong is never right.
    await until(look, timeout_s=PATIENCE_MS / 1000)


async def history(tab: Tab) -> Any:
    """The one finished call of somebody."""

    async def look() -> Any:
        rows = await tab.rest("/history/interactions")
        return rows or None

    rows = await until(look, timeout_s=PATIENCE_MS / 1000)
    assert len(rows) == 1
    return rows[0]


async def test_hanging_up_ends_it_for_both(open_tab: OpenTab) -> None:
    """They agree on more time first; then who hangs up and who is left see different words, and both may go on."""
    her, him = await asyncio.gather(open_tab(MAYA, viewport=DESKTOP), open_tab(LEO, viewport=SMALL_PHONE))
    await meet(her, him)
    ends_at = await him.page.evaluate("window.__minuet.call.endsAt")

    await him.press("extend")
    await expect(her.at("ask-extend")).to_be_visible(timeout=PATIENCE_MS)
    await her.photo("more-time")
    await her.press("ask-extend-yes")
    for tab in (her, him):
        await tab.until("(endsAt) => window.__minuet.call.endsAt === endsAt", ends_at + 900_000)
    await him.photo("small-phone")
    await expect(him.at("hangup")).to_be_in_viewport(ratio=1)
    await her.press("mute")
    await her.says("mute", "Unmute")
    await her.photo("muted")
    await her.press("hangup")

    await her.says("ended-title", "You hung up")
    await him.says("ended-text", "Maya hung up.")
    await him.toasts("Maya is asked for more time")
    for tab in (her, him):
        assert await tab.at("toast").count() == 0, "what passes goes with its screen"
    await asyncio.gather(her.photo("hung-up"), him.photo("hung-up"))
    await him.press("again")
    await him.shows("searching")
    await him.press("cancel")
    await him.shows("welcome")


async def test_who_is_declined_looks_on(open_tab: OpenTab, stranger: Client) -> None:
    """A stranger's no sends her back to her place in the queue, without a press."""
    her = await open_tab(MAYA)
    await stranger.request("queue.join", {"intent": "dating"})
    await her.start()
    await her.shows("call")
    found = await stranger.wait_for("match.found")
    await her.photo("found")

    await stranger.request("call.decline", {"call_id": found["call_id"]})

    await her.toasts("Looking for somebody else")
    await her.shows("searching")
    await her.press("cancel")
    await her.shows("welcome")


async def test_calling_off_sends_the_other_back(open_tab: OpenTab, stranger: Client) -> None:
    """Who leaves before the call has begun is at its end; the other keeps the place in the queue."""
    her = await open_tab(MAYA)
    await stranger.request("queue.join", {"intent": "dating"})
    await her.start()
    found = await stranger.wait_for("match.found")
    await her.shows("call")

    await her.press("hangup")

    ended = await stranger.wait_for("call.ended", call_id=found["call_id"])
    assert (ended["reason"], ended["requeued"]) == ("declined", True)
    await her.shows("ended")
    await stranger.request("queue.leave")


async def test_a_session_taken_elsewhere_stops_the_page(open_tab: OpenTab, deployment: Deployment) -> None:
    """The same device somewhere else: this page says that it has stopped, and can begin again as somebody new."""
    her = await open_tab(MAYA)
    await her.start()
    await her.shows("searching")
    token, device = await her.page.evaluate(
        "[JSON.parse(sessionStorage['minuet.tokens']).access_token, sessionStorage['minuet.device']]"
    )

    async with aiohttp.ClientSession() as http:
        other = Client(http, deployment.url, device_id=device)
        await other.start(token)
        await her.shows("stopped")
        await her.photo("stopped")
        await other.close()

    await her.press("stopped-again")
    await her.shows("welcome")


async def test_only_the_pages_that_are_allowed_may_connect(chromium: Browser, own_origin: str) -> None:
    """With its own origin named, the hub serves its own page and refuses everybody else's."""
    ours = await Tab.open(chromium, own_origin, MAYA)
    theirs = await Tab.open(chromium, own_origin.replace("127.0.0.1", "localhost"), LEO)
    theirs.excused = ("WebSocket connection to",)

    await ours.start()
    await ours.shows("searching")
    await theirs.start()
    await theirs.until("() => window.__minuet.client.connection.state === 'waiting'")

    for tab in (ours, theirs):
        await tab.close()
        tab.blameless()


async def test_she_blocks_him_and_he_learns_of_a_hangup(open_tab: OpenTab) -> None:
    """The safety sheet ends the call at once; he reads what he would read after any hangup."""
    her, him = await asyncio.gather(open_tab(MAYA), open_tab(LEO))
    await meet(her, him)

    await her.press("safety-open")
    await her.photo("safety")
    await her.press("block")

    await her.shows("ended")
    await her.toasts("Leo is blocked")
    await him.says("ended-text", "Maya hung up.")


async def test_a_page_loaded_again_finds_its_call(open_tab: OpenTab) -> None:
    """Reloading in mid-call leads back to the same call after one press; the clock has run on.

    His device's clock is an hour fast, and what he is shown is right all the same.
    """
    her, him = await asyncio.gather(open_tab(MAYA), open_tab(LEO, witness=HOUR_FAST))
    await meet(her, him)
    await him.hears()
    await clock_is_right(him)
    call_id, ends_at = await him.page.evaluate("[window.__minuet.call.id, window.__minuet.call.endsAt]")

    await him.page.reload()
    await him.shows("rejoin")
    await her.says("call-status", "Leo is reconnecting")
    await him.photo("rejoin")
    await her.photo("peer-away")
    assert await him.asked_devices() == [], "a reload is no press"
    await him.press("rejoin")
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())

    assert await him.page.evaluate("[window.__minuet.call.id, window.__minuet.call.endsAt]") == [
        call_id,
        ends_at,
    ]
    await clock_is_right(him)


async def test_a_whole_call_by_keyboard(open_tab: OpenTab) -> None:
    """She never touches a pointer, hears what the ring shows, and decides at the end; the motion she asked for is none."""
    her, him = await asyncio.gather(open_tab(MAYA, reduced_motion="reduce"), open_tab(LEO))
    keyboard = her.page.keyboard

    await him.start("friends")
    await him.shows("searching")
    await tab_to(her, "name")
    await keyboard.type("Maya")
    await tab_to(her, "age")
    await keyboard.type("29")
    await tab_to(her, "gender-female")
    await keyboard.press("Space")
    await tab_to(her, "intent-dating")
    await keyboard.press("ArrowDown")
    await tab_to(her, "start")
    await keyboard.press("Enter")
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    assert await her.page.evaluate(MOVING) == [], "reduced motion is asked for"
    await tab_to(her, "mute")
    await keyboard.press("Space")
    await her.announces("You are muted")
    await keyboard.press("Space")
    await tab_to(her, "video")
    await keyboard.press("Enter")
    await him.press("ask-video-yes")
    await him.press("video-approve")
    await asyncio.gather(her.sees(), him.sees())
    await tab_to(her, "video")
    await keyboard.press("Enter")
    await asyncio.gather(her.until(SHOWS_NO_PICTURE), him.until(SHOWS_NO_PICTURE))
    await her.announces("30 seconds left")
    await her.announces("10 seconds left")
    await asyncio.gather(her.shows("deciding"), him.shows("deciding"))
    await asyncio.gather(her.photo("deciding"), him.photo("deciding"))
    assert await her.page.evaluate("document.activeElement.id") == "deciding-title"
    await tab_to(her, "decide-yes")
    await keyboard.press("Enter")
    await her.toasts("Your yes is kept secret")
    await him.press("decide-yes")

    for tab in (her, him):
        await tab.says("ended-title", "You stay in touch")
    await tab_to(her, "change")
    await keyboard.press("Enter")
    await her.shows("welcome")


FOCUSED = "document.activeElement?.dataset?.testid ?? null"
# A ring or a bar that follows the clock is no animation; anything that moves by itself is one.
MOVING = """
document.getAnimations().filter(({ playState }) => playState === 'running').map(({ effect }) => effect.target.className)
"""


async def tab_to(tab: Tab, testid: str, presses: int = 40) -> None:
    """Goes on with Tab until the element has the focus."""
    for _ in range(presses):
        if await tab.page.evaluate(FOCUSED) == testid:
            return
        await tab.page.keyboard.press("Tab")
    raise AssertionError(f"{testid} cannot be reached with Tab")
