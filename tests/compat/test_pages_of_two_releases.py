"""Two people in real browsers, one with the first landing's page and SDK, one with today's: they talk and see each other."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Route

from tests.compat.releases import ROOT, Beside
from tests.e2e.tabs import LEO, MAYA, SHOWS_NO_PICTURE, WITNESS, Persona, Tab, meet
from tests.fixtures import browser
from tests.fixtures.tools import find_tool

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

TODAY = ROOT / "minuet" / "web"


async def page_of(chromium: Browser, persona: Persona, origin: str, web: Path) -> Tab:
    """A tab at a hub with the page of whichever release, as if that hub served it."""
    # What a test serves has no address, so to the browser it is a stranger's page that talks to this machine.
    context = await chromium.new_context(permissions=["local-network-access"])
    await context.add_init_script(path=WITNESS)

    async def serve(route: Route) -> None:
        path = urlsplit(route.request.url).path
        file = web / ("index.html" if path == "/" else path.lstrip("/"))
        if file.is_file():
            await route.fulfill(path=file)
        else:
            await route.continue_()

    await context.route(f"{origin}/**", serve)
    tab = Tab(await context.new_page(), persona)
    await tab.page.goto(f"{origin}/?debug")
    await tab.shows("welcome")
    return tab


@pytest.mark.parametrize("pages", ["each on its own hub", "each on the other's hub"])
async def test_an_old_and_a_new_page_share_a_call(beside: Beside, pages: str) -> None:
    """Voice both ways, video asked for and allowed and taken back, and a goodbye; neither page complains."""
    old_web = beside.landing.folder / "minuet" / "web"
    hubs = [beside.old_hub.public, beside.new_hub.public]
    if pages == "each on the other's hub":
        hubs.reverse()

    async with browser.chromium(find_tool("chromium")) as chromium:
        her = await page_of(chromium, MAYA, hubs[0], old_web)
        him = await page_of(chromium, LEO, hubs[1], TODAY)
        # Today's page asks for its conversations, of which a hub of the first landing knows nothing.
        him.excused = ("status of 404",) if pages == "each on the other's hub" else ()
        await meet(her, him)
        await asyncio.gather(her.hears(), him.hears())
        await him.press("video")
        await her.press("ask-video-yes")
        await her.press("video-approve")
        await asyncio.gather(her.sees(), him.sees())
        await her.press("video")
        await asyncio.gather(her.until(SHOWS_NO_PICTURE), him.until(SHOWS_NO_PICTURE))
        await asyncio.gather(her.hears(), him.hears())
        await him.press("hangup")
        await asyncio.gather(*(tab.until("() => !window.__minuet.call") for tab in (her, him)))
        for tab in (her, him):
            tab.blameless()
            await tab.close()
    assert beside.complaints() == []
