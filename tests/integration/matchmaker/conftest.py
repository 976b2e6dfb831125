"""Fixtures for tests of lobby and worker on a real Valkey."""

from collections.abc import AsyncIterator

import pytest

from storage.redis.client import connect
from tests.integration.matchmaker.scene import Scene, running


@pytest.fixture
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    """Lobby, stores and players on an empty database."""
    # A store that is slow for a moment is no store that is away.
    redis = connect(redis_url, timeout_s=10)
    yield Scene.on(redis)
    await redis.aclose()


@pytest.fixture
async def matchmaker(scene: Scene) -> AsyncIterator[None]:
    """A matchmaker in this process that owns every pool of the scene."""
    async with running(scene):
        yield
