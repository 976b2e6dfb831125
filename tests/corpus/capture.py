"""Captures the real descriptions of the corpus anew: `python -m tests.corpus.capture`.

Runs every stage of `stages.js` in the Chromium of this machine and of `aiortc_stages.py` here, puts addresses of the
documentation ranges (RFC 5737, RFC 3849) in the place of all real ones, and writes `captured/`. Verdicts are not its
matter: those are in `chromium.toml` and `aiortc.toml`, by hand, and a stage that has none there fails the tests.
"""

import argparse
import asyncio
import ipaddress
import re
import shutil
import sys
from importlib.metadata import version
from itertools import count
from pathlib import Path

from playwright.async_api import Page

from tests.corpus import aiortc_stages
from tests.corpus.browser import page_with
from tests.fixtures.browser import chromium

HERE = Path(__file__).parent
CAPTURED = HERE / "captured"
FILES = {name: HERE / name for name in ("stages.js", "peers.js", "listener.html")}

# What endpoints write where they mean no address.
_MEANINGLESS = {"0.0.0.0", "127.0.0.1", "::"}  # noqa: S104, no socket is bound to it
_MDNS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\.local)")
_WORD = re.compile(r"[^ \r\n]+")


class Scrubber:
    """Gives every address that it meets the next one of a documentation range, and the same one ever after."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._numbers = {4: count(1), 6: count(1), 0: count(1)}

    def scrub(self, sdp: str) -> str:
        return _WORD.sub(lambda word: self._word(word[0]), _MDNS.sub(lambda name: self._name(name[0]), sdp))

    def _word(self, word: str) -> str:
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            return word
        if word in _MEANINGLESS:
            return word
        if word not in self._known:
            number = next(self._numbers[address.version])
            self._known[word] = f"192.0.2.{number}" if address.version == 4 else f"2001:db8::{number:x}"
        return self._known[word]

    def _name(self, name: str) -> str:
        if name not in self._known:
            self._known[name] = f"00000000-0000-4000-8000-{next(self._numbers[0]):012x}"
        return self._known[name]


async def capture(program: str) -> None:
    """Writes all stages of both implementations."""
    async with chromium(program) as browser:
        page = await page_with(browser, FILES)
        await page.evaluate("async () => { window.stages = await import('/stages.js'); }")
        _write("chromium", browser.version, await page.evaluate("() => window.stages.capture()"))

        async def answer(offer: str) -> str:
            return await _answer(page, offer)

        _write("aiortc", version("aiortc"), await aiortc_stages.capture(answer))


async def _answer(page: Page, offer: str) -> str:
    answer: str = await page.evaluate("(offer) => window.stages.answer(offer)", offer)
    return answer


def _write(implementation: str, release: str, descriptions: dict[str, str]) -> None:
    folder = CAPTURED / implementation
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scrubber = Scrubber()
    (folder / "VERSION").write_text(f"{release}\n")
    for name, sdp in descriptions.items():
        # Bytes, since these lines end with CRLF on every system.
        (folder / f"{name}.sdp").write_bytes(scrubber.scrub(sdp).encode())
    print(f"{implementation} {release}: {len(descriptions)} descriptions", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--chromium", default=shutil.which("chromium"), help="the program (default: the one in PATH)"
    )
    arguments = parser.parse_args()
    if arguments.chromium is None:
        parser.error("no chromium in PATH: say where it is with --chromium")
    asyncio.run(capture(arguments.chromium))


if __name__ == "__main__":
    main()
