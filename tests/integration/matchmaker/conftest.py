"""Fixtures for tests of lobby and worker on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from matchmaker.worker import run_matchmaker
from storage.redis.client import connect
from tests.integration.matchmaker.scene import Scene


@pytest.fixture
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    """Lobby, stores and players on an empty database."""
    redis = connect(redis_url)
    yield Scene.on(redis)
    await redis.aclose()


@pytest.fixture
async def matchmaker(scene: Scene) -> AsyncIterator[asyncio.Task[None]]:
    """A matchmaker that owns every pool of the scene."""
    task = asyncio.create_task(run_matchmaker(scene.policies, scene.worker_ports))
    async with asyncio.timeout(5):
        while not all(await scene.redis.exists(scene.keys.pool_owner(pool)) for pool in scene.policies):
            await asyncio.sleep(0.01)
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
