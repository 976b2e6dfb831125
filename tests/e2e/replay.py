"""Replays descriptions into headless Chromium, as an eager peer would apply them; `replay.js` does it there."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from tests.corpus.browser import page_with
from tests.fixtures.browser import chromium

SCRIPT = Path(__file__).parent / "replay.js"
# Thousands take a minute or two on two cores; the corpus about fifteen seconds.
PATIENCE_S = 600
# A page may make 500 peer connections; closed ones count until they are collected.
CASES_FOR_A_PAGE = 100


class Description(TypedDict):
    """What is to be replayed."""

    id: str
    kind: str
    sdp: str
    offer: str | None


class Outcome(TypedDict):
    """What came of a description in one state of the peer."""

    refused: str | None
    """The browser's complaint; the other fields are missing then."""
    audio: list[str]
    """Directions of voice sections that are on."""
    video: list[str]
    tracks: list[str]
    """Kinds of the remote tracks that were announced."""
    data: bool


Outcomes = Mapping[str, Sequence[Outcome]]


def replay(program: str, descriptions: Sequence[Description]) -> Outcomes:
    """What comes of each, by id, in the Chromium whose program lies there."""

    async def all_of_them() -> Outcomes:
        found: dict[str, list[Outcome]] = {}
        async with asyncio.timeout(PATIENCE_S), chromium(program) as browser:
            for at in range(0, len(descriptions), CASES_FOR_A_PAGE):
                page = await page_with(browser, {"replay.js": SCRIPT})
                await page.evaluate("async () => { window.replay = await import('/replay.js'); }")
                some = descriptions[at : at + CASES_FOR_A_PAGE]
                found |= await page.evaluate("(some) => window.replay.replayAll(some)", some)
                await page.context.close()
        return found

    return asyncio.run(all_of_them())
