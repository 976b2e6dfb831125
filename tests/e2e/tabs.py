"""A person at the demo page: one browser context with a page, driven by what its screens offer.

It collects whatever a page must never do (errors in the console, breaches of the content policy, a microphone that
nobody pressed for) and complains about it when it is closed.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, expect

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
# Two cores draw two pages and mix two fake voices here, often beside other tests.
PATIENCE_MS = 60_000
POLL_S = 0.1
# Also where a test does not say how long: the 5 s of playwright are those of a machine that does nothing else.
expect.set_options(timeout=PATIENCE_MS)

HERE = Path(__file__).parent
AXE = HERE / "vendor" / "axe.min.js"
WITNESS = HERE / "witness.js"

STATS = """
async () => {
  const stats = { audio: { packets: 0, energy: 0 }, video: { frames: 0 }, sentVideo: { frames: 0 } };
  const pc = window.__minuet.pc;
  for (const report of pc ? (await pc.getStats()).values() : []) {
    if (report.type === "inbound-rtp" && report.kind === "audio")
      stats.audio = { packets: report.packetsReceived, energy: report.totalAudioEnergy };
    if (report.type === "inbound-rtp" && report.kind === "video") stats.video = { frames: report.framesDecoded ?? 0 };
    if (report.type === "outbound-rtp" && report.kind === "video") stats.sentVideo = { frames: report.framesEncoded ?? 0 };
  }
  return stats;
}
"""
AUDIO_CAME = f"""
async ([packets, energy]) => {{
  const {{ audio }} = await ({STATS})();
  return audio.packets >= packets && audio.energy > energy;
}}
"""
VIDEO_CAME = f"async (frames) => (await ({STATS})()).video.frames >= frames"

# Screens fade in; what is half seen is neither a picture nor a contrast to judge.
SETTLED = """
() => document.getAnimations().every(({ playState, effect }) =>
  playState !== 'running' || effect.getComputedTiming().endTime === Infinity)
"""
STICKING_OUT = """
() => [...document.querySelectorAll('button, input, label, h1, p, video')]
  .filter((element) => element.checkVisibility({ checkVisibilityCSS: true }) && !element.closest('.visually-hidden, .sprite'))
  .filter((element) => {
    const { left, right, width } = element.getBoundingClientRect();
    return width > 1 && (left < -1 || right > innerWidth + 1);
  })
  .map((element) => element.outerHTML.slice(0, 120))
"""
SHOWS_PICTURE = "() => document.getElementById('stage').hasAttribute('data-video')"
SHOWS_NO_PICTURE = "() => !document.getElementById('stage').hasAttribute('data-video')"
SITUATION = """
() => ({
  screen: document.body.dataset.screen,
  link: window.__minuet.client.connection.state,
  call: window.__minuet.call?.state,
  media: window.__minuet.pc?.connectionState,
  witness: window.__witness,
})
"""


def artifacts() -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("TEST_ARTIFACTS", ".artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class Persona:
    """Who somebody says to be."""

    first_name: str
    age: int
    gender: str


MAYA = Persona("Maya", 29, "female")
LEO = Persona("Leo", 31, "male")


class Tab:
    """One person's page."""

    def __init__(self, page: Page, persona: Persona) -> None:
        self.page = page
        self.persona = persona
        self.complaints: list[str] = []
        self.excused: tuple[str, ...] = ()
        """Parts of console messages that this test brings about on purpose."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    @classmethod
    async def open(
        cls,
        browser: Browser,
        url: str,
        persona: Persona,
        *,
        viewport: ViewportSize = PHONE,
        witness: str = "",
        **context_options: Any,
    ) -> "Tab":
        """A new browser context at the page; `witness` is a further script that runs before the page's own."""
        context = await browser.new_context(viewport=viewport, **context_options)
        await context.add_init_script(path=WITNESS)
        await context.add_init_script(path=AXE)
        if witness:
            await context.add_init_script(script=witness)
        tab = cls(await context.new_page(), persona)
        await tab.page.goto(f"{url}/?debug")
        await tab.shows("welcome")
        return tab

    async def close(self) -> None:
        """Ends the session, as closing a tab does not."""
        await self.page.context.close()

    def blameless(self) -> None:
        """Asserts that the page did nothing that no page of ours may do."""
        assert self.complaints == [], self.complaints

    # What it shows.

    def at(self, testid: str) -> Locator:
        return self.page.get_by_test_id(testid)

    async def shows(self, screen: str) -> None:
        await expect(self.at(f"screen-{screen}")).to_be_visible(timeout=PATIENCE_MS)

    async def says(self, testid: str, text: str) -> None:
        await expect(self.at(testid)).to_contain_text(text, timeout=PATIENCE_MS)

    async def toasts(self, text: str) -> None:
        """Returns once a toast with the text was shown, whether or not it still is."""
        await self.until("(text) => window.__witness.toasts.some((toast) => toast.includes(text))", text)

    async def announces(self, text: str) -> None:
        """Returns once a screen reader was told."""
        await self.until("(text) => window.__witness.said.some((said) => said.includes(text))", text)

    async def in_state(self, state: str) -> None:
        await self.until("(state) => window.__minuet.call?.state === state", state)

    async def photo(self, stage: str) -> None:
        """Keeps a screenshot, and asserts that nothing is cut off and that axe finds nothing serious."""
        await self.until(SETTLED)
        await self.page.screenshot(path=artifacts() / f"{stage}-{self.persona.first_name.lower()}.png")
        found = await self.page.evaluate(
            "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
            ".filter(({ impact }) => impact === 'serious' || impact === 'critical')"
            ".map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html).join(' ')}`)"
        )
        assert found == [], (stage, found)
        sticking_out = await self.page.evaluate(STICKING_OUT)
        assert sticking_out == [], (stage, sticking_out)

    # What it does.

    async def press(self, testid: str) -> None:
        await self.at(testid).click()

    async def introduce(self, intent: str = "dating") -> None:
        """Fills in the first form."""
        await self.at("name").fill(self.persona.first_name)
        await self.at("age").fill(str(self.persona.age))
        await self.at(f"gender-{self.persona.gender}").check(force=True)
        await self.at(f"intent-{intent}").check(force=True)

    async def start(self, intent: str = "dating") -> None:
        """From the first screen into the queue."""
        await self.introduce(intent)
        await self.press("start")

    # What flows.

    async def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.page.evaluate(STATS)
        return found

    async def hears(self, packets: int = 25) -> None:
        """Returns once that many more packets of the other's voice came in, with energy in them."""
        before = (await self.stats())["audio"]
        await self.until(AUDIO_CAME, [before["packets"] + packets, before["energy"]])

    async def sees(self, frames: int = 5) -> None:
        """Returns once that many more pictures of the other were decoded."""
        await self.until(VIDEO_CAME, (await self.stats())["video"]["frames"] + frames)

    async def hears_and_sees_nothing(self) -> None:
        """Returns once the other's voice goes on and no picture comes any more; some may still have been on their way."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while True:
                before = (await self.stats())["video"]["frames"]
                await self.hears()
                if (await self.stats())["video"]["frames"] == before:
                    return

    async def until(self, script: str, argument: Any = None) -> None:
        """Returns once the function answers something true. Raises: AssertionError with what happened instead.

        Asked from here, again and again: `wait_for_function` takes the promise of an async function for an answer.
        """
        try:
            async with asyncio.timeout(PATIENCE_MS / 1000):
                while not await self.page.evaluate(script, argument):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            seen = await self.page.evaluate(SITUATION)
            name = self.persona.first_name
            raise AssertionError(
                f"{name} waited in vain for {script} {argument}: {seen} {self.complaints}"
            ) from None

    async def asked_devices(self) -> list[str]:
        """Which devices the page has asked for, in order: `audio`, `video`."""
        asked: list[str] = await self.page.evaluate("window.__witness.devices")
        return asked

    async def rest(self, path: str) -> Any:
        """What REST answers this person."""
        return await self.page.evaluate("(path) => window.__minuet.client.account.request('GET', path)", path)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self.excused):
            self.complaints.append(f"{message.type}: {message.text}")


OpenTab = Callable[..., Awaitable[Tab]]
"""Opens a persona's tab; see the fixture `open_tab`."""


async def meet(her: Tab, him: Tab, intent: str = "dating") -> None:
    """From the first screen to talking."""
    await her.start(intent)
    await her.shows("searching")
    await him.start(intent)
    for tab in (her, him):
        await tab.shows("call")
    await asyncio.gather(her.in_state("live"), him.in_state("live"))


async def allow_video(her: Tab, direction: str) -> None:
    """She answers his request in the sheet."""
    await her.press("ask-video-yes")
    await her.at(f"direction-{direction}").check(force=True)
    await her.press("video-approve")
