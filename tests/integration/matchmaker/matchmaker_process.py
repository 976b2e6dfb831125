"""A matchmaker as a process of its own, for tests that kill it: `python -m ... <redis url> <name> [<pool>...]`.

Announcements go to a list in Redis, so that what a killed process has said is not lost with it.
"""

import asyncio
import sys
from dataclasses import replace

from base.ids import CallId
from matchmaker.matches import Match, encode_match
from matchmaker.ports import CallOutcome, CallStage
from matchmaker.worker import run_matchmaker
from storage.redis.client import connect
from tests.integration.matchmaker.scene import Scene

ANNOUNCED = "test:announced"


class WrittenDown:
    """Announces by writing down who said it and what."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene = scene
        self._name = name.encode()

    async def announce(self, match: Match) -> None:
        await self._scene.redis.rpush(ANNOUNCED, self._name + b"|" + encode_match(match))


class CallsUnderWay:
    """However long a test takes, its calls are being set up."""

    async def stage(self, call_id: CallId) -> CallOutcome:
        return CallOutcome(CallStage.SETTING_UP)


async def main(url: str, name: str, *pools: str) -> None:
    scene = Scene.on(connect(url))
    ports = replace(scene.worker_ports, announcer=WrittenDown(scene, name), calls=CallsUnderWay())
    # All pools are like `friends`: quick.
    await run_matchmaker(dict.fromkeys(pools or ("friends",), scene.policies["friends"]), ports, member=name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
