"""Pages of ours that no server has to serve."""

from collections.abc import Mapping
from pathlib import Path

from playwright.async_api import Browser, Page, Route

_EMPTY = "<!doctype html><title>corpus</title>"
_TYPES = {".js": "text/javascript", ".html": "text/html"}


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
