"""A headless Chromium with a fake microphone and camera, and pages of ours that no server has to serve."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, Route, async_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

_EMPTY = "<!doctype html><title>corpus</title>"
_TYPES = {".js": "text/javascript", ".html": "text/html"}


@asynccontextmanager
async def chromium(path: str) -> AsyncIterator[Browser]:
    """The browser whose program lies at `path`."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def page_with(browser: Browser, files: Mapping[str, Path]) -> Page:
    """An empty page of a secure origin; `files` says which addresses of any host give which file, all others none."""

    async def serve(route: Route) -> None:
        path = route.request.url.partition("://")[2].partition("/")[2]
        if path in files:
            file = files[path]
            await route.fulfill(content_type=_TYPES[file.suffix], body=file.read_text())
        else:
            await route.fulfill(content_type="text/html", body=_EMPTY)

    context = await browser.new_context()
    await context.route("**/*", serve)
    page = await context.new_page()
    await page.goto("https://corpus.test/")
    return page
