"""Where a session is resumed that a scene has, and what its client sends first."""

import asyncio
from typing import Any

import orjson

from base.clock import ServerClock
from signaling.chores import Chores
from signaling.connection import Connection, ConnectionSettings
from signaling.greeting import FirstMessage, Greeting
from signaling.live_session import LiveSession
from signaling.opening import Opening
from signaling.resuming import Found, Outcome
from signaling.returning import Returning
from signaling.session.limits import SessionLimits
from signaling.upgrade import ConnectionInfo
from signaling.versions import LeastVersions
from signaling.welcome import SessionPolicy, Welcome
from tests.unit.signaling.hub.live_scene import CALL, Scene, Wire

RESUME = {"token": "t", "session_id": CALL, "device_id": CALL, "last_seq": 0}


class House:
    """What a resumed session needs of others. Its call is told of it when the test says so."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.settles = asyncio.Event()
        self.work: list[asyncio.Task[None]] = []
        rest: Any = self
        policy = SessionPolicy(SessionLimits(), (), False, LeastVersions())
        welcome = Welcome(policy, rest, ServerClock(scene.clock))
        returning = Returning(rest, rest, rest, rest, rest, welcome)
        metrics = scene.live._shell.metrics
        self.opening = Opening(rest, rest, rest, returning, Chores(), metrics)
        self.wire = Wire()
        self.connection = Connection(self.wire, "192.0.2.1", False, ConnectionSettings())
        info = ConnectionInfo("192.0.2.1", "minuet.v1.json", "")
        self.connection.listen(Greeting(self.connection, info, self._begin, 5))

    def _begin(self, greeting: Greeting, first: FirstMessage) -> None:
        self.work.append(asyncio.create_task(self.opening.open(greeting, first)))

    def hears(self, type_: str, id_: int, data: dict[str, Any]) -> None:
        payload = orjson.dumps({"type": type_, "id": id_, "data": data})
        length = len(payload)
        size = bytes((length,)) if length < 126 else bytes((126, *length.to_bytes(2, "big")))
        masked = bytes((0x81, 0x80 | size[0])) + size[1:] + bytes(4)
        self.connection.data_received(masked + payload)

    def read(self, _token: str) -> object:
        return self.scene.live.identity

    async def check(self, _identity: object) -> None:
        """Nobody was signed out."""

    async def is_whole(self) -> bool:
        return True

    async def bring(self, _claim: object, _land: object) -> Found:
        return Found(self.scene.live, Outcome.HERE)

    def wake(self, _live: LiveSession) -> None:
        """No timer here."""

    async def settle_in(self, _live: LiveSession, *, moved: bool) -> None:
        await self.settles.wait()
