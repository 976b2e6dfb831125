"""A browser and its tabs, for tests that look at the demo page.

deployment  a hub, a matchmaker and a worker for a module's tests, under a policy that waits; a module may have its own
chromium    one headless browser for a module's tests, with a fake camera and a fake microphone
open_tab    opens people's tabs at the module's `deployment`; at the end none of them may have misbehaved
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.tabs import OpenTab, Persona, Tab
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures import browser
from tests.fixtures.deployment import Deployment, Lasting
from tests.fixtures.tools import find_tool


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", "worker", config=UNHURRIED, MINUET_ALLOWED_ORIGINS="*") as deployment:
        yield deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser.chromium(find_tool("chromium")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def open_tab(chromium: Browser, deployment: Deployment) -> AsyncIterator[OpenTab]:
    tabs: list[Tab] = []

    async def open_one(persona: Persona, url: str | None = None, **options: Any) -> Tab:
        tab = await Tab.open(chromium, url or deployment.url, persona, **options)
        tabs.append(tab)
        return tab

    yield open_one
    for tab in tabs:
        await tab.close()
    for tab in tabs:
        tab.blameless()
