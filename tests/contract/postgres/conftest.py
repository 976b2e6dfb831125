"""A pool on a database of the test's own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.postgres.pool import open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()
