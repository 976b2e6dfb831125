"""One live session with a real connection over a fake wire, and services that note what they are told."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from accounts.model import Identity, Role
from base.clock import ManualClock
from base.errors import ErrorCode, MinuetError
from base.ids import DeviceId, SessionId
from base.policy import Gender
from signaling.connection import Connection, ConnectionSettings
from signaling.frames import CLOSE, TEXT
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import JSON, Request
from signaling.session.limits import SessionLimits
from signaling.session.session import Session
from signaling.session_shell import SessionShell
from signaling.standstill import Standstill

CALL = "01890000-0000-7000-8000-000000000000"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and takes as little as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent = 0
        self.is_cut = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.is_cut = True

    def abort(self) -> None:
        self.is_cut = True

    def messages(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for opcode, body in self._frames() if opcode == TEXT]

    def close_code(self) -> int | None:
        codes = [int.from_bytes(body[:2]) for opcode, body in self._frames() if opcode == CLOSE]
        return codes[-1] if codes else None

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of each, also of several that were written together."""
        data = b"".join(self.written)
        while data:
            length, start = data[1] & 0x7F, 2
            if length > 125:
                start = 4 if length == 126 else 10
                length = int.from_bytes(data[2:start])
            yield data[0] & 0x0F, data[start : start + length]
            data = data[start + length :]


class Services:
    """A dispatcher and lifecycle that note what they are told; commands wait until the test lets them go."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def relay(self, live: LiveSession, request: Request) -> None:
        self.done.append(request.message.TYPE)

    async def handle(self, live: LiveSession, request: Request) -> Mapping[str, Any] | None:
        await self.gate.wait()
        self.done.append(request.message.TYPE)
        if request.message.TYPE == "queue.leave":
            raise MinuetError(code=ErrorCode.ALREADY_MATCHED)
        return {"fine": True}

    def detached(self, live: LiveSession) -> None:
        self.told.append("detached")

    def ended(self, live: LiveSession, reason: str) -> None:
        self.told.append(f"ended: {reason}")

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.create_task(work))

    async def settled(self) -> None:
        self.gate.set()
        await asyncio.gather(*self.tasks)


class Scene:
    """A live session with a socket."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.clock = ManualClock()
        self.services = Services()
        limits = limits or SessionLimits()
        metrics = SessionMetrics(CollectorRegistry())
        self.standstill = Standstill(self.clock.monotonic_ms, metrics)
        shell = SessionShell(
            self.clock, limits, self.services, self.services, metrics, False, self.standstill
        )
        expires_at = self.clock.now_ms + 900_000
        identity = Identity("user", Role.USER, Gender.FEMALE, "family", self.clock.now_ms, expires_at)
        session = Session(SessionId("session"), JSON, limits, self.clock.now_ms)
        self.live = LiveSession(shell, session, identity, DeviceId("device"), 1)
        self.wire, self.connection = self.connect()

    def connect(self) -> tuple[Wire, Connection]:
        wire = Wire()
        connection = Connection(wire, "192.0.2.1", False, ConnectionSettings())
        self.live.attach(connection)
        return wire, connection

    def hears(self, type_: str, request_id: int | None = None, **data: Any) -> None:
        message: dict[str, Any] = {"type": type_, "data": data}
        if request_id is not None:
            message["id"] = request_id
        self.live.message_received(orjson.dumps(message), False)

    def tick(self) -> int | None:
        return self.live.tick(self.clock.now_ms, self.clock.now_ms)
