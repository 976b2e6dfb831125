"""A session and its socket: order of commands, slow readers, silence, expiry. On real connections over a fake wire."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from accounts.model import Identity, Role
from base.clock import ManualClock
from base.errors import CloseCode, ErrorCode, MinuetError
from base.ids import CallId, DeviceId, SessionId
from base.policy import Gender
from signaling.connection import Connection, ConnectionSettings
from signaling.frames import CLOSE, TEXT
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import JSON, Request
from signaling.protocol.messages.session import Ping, SessionExpiring
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


async def test_a_relay_is_done_at_once_when_nothing_is_in_line() -> None:
    """No task, no wait: it has been passed on before the read returns."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)

    assert scene.services.done == ["call.candidates"]
    assert not scene.services.tasks


async def test_the_ok_of_candidates_goes_with_what_is_said_next() -> None:
    """In its own place, and in one write: a socket is not written to twice where once is enough."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.hears("call.candidates", 2, call_id=CALL, negotiation=1)
    assert scene.wire.written == []
    scene.live.push(SessionExpiring(token_expires_at=1))

    assert [(said["type"], said["seq"]) for said in scene.wire.messages()] == [
        ("ok", 1),
        ("ok", 2),
        ("session.expiring", 3),
    ]
    assert len(scene.wire.written) == 1


async def test_the_ok_of_a_description_is_not_held_back() -> None:
    """An answerer applies the answer when it comes; what was held before it goes ahead of it."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.hears("call.answer", 2, call_id=CALL, negotiation=1, sdp="v=0")

    assert [(said["type"], said["id"]) for said in scene.wire.messages()] == [("ok", 1), ("ok", 2)]
    assert len(scene.wire.written) == 1


async def test_the_ok_of_candidates_goes_alone_in_a_moment() -> None:
    """Where nothing else is said."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    async with asyncio.timeout(5):
        while not scene.wire.written:
            await asyncio.sleep(0.001)

    assert scene.wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]


async def test_what_is_held_back_goes_ahead_of_the_close_frame() -> None:
    """Whoever is sent away has heard all that was said to them."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.live.close(CloseCode.DRAIN, "drain")

    assert scene.wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]
    assert scene.wire.close_code() == CloseCode.DRAIN


async def test_what_was_held_back_when_a_socket_was_lost_is_in_the_replay() -> None:
    """It is numbered and kept as soon as it is said."""
    scene = Scene()
    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.connection.abort()
    scene.connection.connection_lost(None)

    wire, _ = scene.connect()
    assert scene.live.replay(0)

    assert scene.wire.written == []
    assert wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]


async def test_commands_and_relays_of_a_session_keep_their_order() -> None:
    """A relay waits behind its own session's unfinished command."""
    scene = Scene()

    scene.hears("call.accept", 1, call_id=CALL)
    scene.hears("call.candidates", 2, call_id=CALL, negotiation=1)
    scene.hears("queue.leave", 3)
    assert scene.services.done == []
    await scene.services.settled()

    assert scene.services.done == ["call.accept", "call.candidates", "queue.leave"]
    answers = [(message["type"], message["id"]) for message in scene.wire.messages()]
    assert answers == [("ok", 1), ("ok", 2), ("error", 3)]


async def test_commands_in_line_are_bounded() -> None:
    """Above the limit: `rate_limited`, and what is in line is still done."""
    scene = Scene(SessionLimits(pending_commands=3))

    for number in range(1, 7):
        scene.hears("call.accept", number, call_id=CALL)
    await scene.services.settled()

    refused = [message["id"] for message in scene.wire.messages() if message["type"] == "error"]
    assert len(refused) + len(scene.services.done) == 6
    assert refused == [4, 5, 6]


async def test_a_slow_reader_loses_pings_first_then_the_socket_but_nothing_reliable() -> None:
    """Above 64 kB unsent ephemeral messages are dropped, above 256 kB the socket is closed with 4003."""
    scene = Scene()
    scene.connection.pause_writing()
    scene.wire.unsent = 100_000

    scene.live.push(Ping(server_now=1))
    scene.live.push(SessionExpiring(token_expires_at=1))
    scene.wire.unsent = 300_000
    scene.live.push(SessionExpiring(token_expires_at=2))

    assert [message["type"] for message in scene.wire.messages()] == ["session.expiring"]
    assert scene.wire.close_code() == CloseCode.TOO_SLOW
    assert scene.services.told == ["detached"]
    wire, _ = scene.connect()
    assert scene.live.replay(0)
    replayed = b"".join(wire.written)
    assert replayed.count(b"session.expiring") == 2


async def test_a_reader_without_progress_is_closed_after_ten_seconds() -> None:
    """4003 also when little is unsent but nothing moves."""
    scene = Scene()
    scene.connection.pause_writing()

    scene.clock.advance(9.9)
    scene.tick()
    assert scene.live.is_attached
    scene.clock.advance(0.2)
    scene.tick()

    assert scene.wire.close_code() == CloseCode.TOO_SLOW


async def test_a_client_that_never_acknowledges_is_told_to_start_over() -> None:
    """The outbox overflows: 4006, and the session can no longer be resumed."""
    scene = Scene(SessionLimits(outbox_messages=5))

    for number in range(6):
        scene.live.push(SessionExpiring(token_expires_at=number))

    assert scene.wire.close_code() == CloseCode.RESYNC
    assert not scene.live.can_resume
    assert len(scene.wire.messages()) == 5


async def test_silence_is_pinged_then_given_up() -> None:
    """20 s, then 8 s; in a call 5 s and 4 s."""
    scene = Scene()

    scene.clock.advance(20)
    scene.tick()
    assert scene.wire.messages()[-1]["type"] == "ping"
    scene.clock.advance(8)
    scene.tick()

    assert scene.wire.close_code() == CloseCode.NO_PONG
    assert scene.services.told == ["detached"]


async def test_late_events_of_an_older_socket_do_nothing() -> None:
    """The session has another socket by now; the old one's end is none of its business.

    It is told to come back, not that it was superseded: the later attempt may be the one that nobody listens to any more.
    """
    scene = Scene()
    old = scene.connection
    wire, _ = scene.connect()

    old.connection_lost(None)
    scene.live.push(SessionExpiring(token_expires_at=1))

    assert scene.live.is_attached
    assert scene.wire.close_code() == CloseCode.DRAIN
    assert [message["type"] for message in wire.messages()] == ["session.expiring"]


@pytest.mark.parametrize(("clean", "told"), [(True, "ended: closed"), (False, "detached")])
async def test_only_a_clean_goodbye_ends_the_session(clean: bool, told: str) -> None:
    """A close frame with 1000 means it; a lost socket may come back."""
    scene = Scene()

    scene.live.connection_closed(1000, clean)

    assert scene.services.told == [told]


@pytest.mark.parametrize(("call_id", "lives_s"), [(None, 60), (CallId(CALL), 120)])
async def test_a_detached_session_lives_for_a_minute_and_in_a_call_for_two(
    call_id: CallId | None, lives_s: int
) -> None:
    """Then it has expired."""
    scene = Scene()
    if call_id is not None:
        scene.live.enter_call(call_id)
    scene.live.connection_closed(1006, False)

    scene.clock.advance(lives_s - 1)
    assert scene.tick() is not None
    scene.clock.advance(2)
    assert scene.tick() is None

    assert scene.services.told == ["detached", "ended: expired"]


async def test_a_token_that_runs_out_is_announced_then_the_socket_closed() -> None:
    """A minute before, and half a minute after."""
    scene = Scene()

    scene.clock.advance(841)
    scene.live.traffic_seen()
    scene.tick()
    assert scene.wire.messages()[-1]["type"] == "session.expiring"
    scene.clock.advance(90)
    scene.live.traffic_seen()
    scene.tick()

    assert scene.wire.close_code() == CloseCode.TOKEN_EXPIRED
