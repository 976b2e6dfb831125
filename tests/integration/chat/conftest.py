"""One all-in-one process that the chat tests share, and couples on it."""

from collections.abc import Iterator

import pytest

from tests.fixtures.deployment import Deployment, Lasting, People
from tests.integration.chat.couples import Couple, connected

UNHURRIED = """
[intents.dating]
call_seconds = 8.0
decide_after_s = 0.5
deciding_s = 10.0
[intents.friends]
call_seconds = 8.0
decide_after_s = 0.5
deciding_s = 10.0
"""
"""One test waits for the end of a call; in others a dozen things are said before it."""


@pytest.fixture(scope="session")
def house(lasting: Lasting) -> Iterator[Deployment]:
    """Never kill it, and leave nobody in a queue."""
    with lasting("serve --all-in-one", config=UNHURRIED) as deployment:
        yield deployment


@pytest.fixture
async def couple(house: Deployment, people: People) -> Couple:
    """Two who are connected, each with one device on the house's hub."""
    return await connected(people, house.environment["MINUET_DATABASE_URL"], house.url)
