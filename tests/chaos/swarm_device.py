"""One device's session over any number of sockets, as a good client keeps it.

Comes back with full jitter, resumes with the number of the last message it has read, repeats by the same ids what was
neither answered nor handled, and starts anew where the server says that the session is gone. What it cannot promise it
tells its owner: a request that was under way in a lost session fails with `Disconnected`, and its owner decides.
Knows nothing of queues and calls.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from tests.chaos.history import History, tidy
from tests.chaos.swarm_socket import NotLetIn, Socket

Message = dict[str, Any]

REQUEST_TIMEOUT_S: Final = 10.0
_FIRST_S, _CAP_S, _URGENT_CAP_S = 0.5, 20.0, 2.0
_HANDSHAKE_S, _URGENT_HANDSHAKE_S = 10.0, 4.0
_STABLE_S: Final = 30.0
_ACK_AFTER: Final = 16
_LOOK_S: Final = 1.0
RESYNC, DRAIN, RATE, NORMAL = 4006, 4001, 4007, 1000


class Refused(Exception):
    """The server answered `error`."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data["code"])
        self.code: str = data["code"]
        self.retryable: bool = data["retryable"]
        self.retry_after_s: float = (data.get("retry_after_ms") or 0) / 1000


class Disconnected(Exception):
    """The session in which the request was made is gone, or nobody answered in time: it may have been done or not."""


class Backoff:
    """Full jitter under a ceiling that doubles; low while a call waits for us."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.attempts = 0

    def next_s(self, *, urgent: bool = False) -> float:
        ceiling = min(_URGENT_CAP_S if urgent else _CAP_S, _FIRST_S * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return self._rng.random() * ceiling


class Owner(Protocol):
    """Who lives with the device."""

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for this device, as in a call."""
        ...

    def ready(self, snapshot: Message) -> None:
        """A session began: everything known before is replaced."""
        ...

    def resumed(self) -> None:
        """The session goes on; what came meanwhile follows."""
        ...

    def hear(self, type_: str, data: Message) -> None:
        """A message that is no answer."""
        ...


class Device:
    """`run` keeps it connected until `end`; `addresses` is looked at anew for each socket."""

    def __init__(
        self, who: int, token: str, addresses: Sequence[str], codec: str, rng: random.Random, history: History
    ) -> None:
        self._who = who
        self._token = token
        self._addresses = addresses
        self._binary = codec == "msgpack"
        self._subprotocol = f"minuet.v1.{codec}"
        self._rng = rng
        self._history = history
        self.owner: Owner | None = None
        self.device_id = f"device-{who}"
        self.session = ""
        self.is_ready = False
        self._socket: Socket | None = None
        self._sockets = 0
        self._over = False
        self._last_seq = self._acked = 0
        self._last_id = 0
        self._waiting: dict[int, tuple[str, Message, asyncio.Future[Message]]] = {}
        self._backoff = Backoff(rng)
        self._heard_at = 0.0
        self._heartbeat_s = 20.0
        self._pause_at_least_s = 0.0
        self._drain_until: float | None = None
        self._gone: asyncio.Future[int | None] | None = None
        self._nudged = asyncio.Event()

    async def run(self) -> None:
        """Connects, and connects again, until the session is ended here or the server wants it no more."""
        while True:
            await self._attempt()
            if self._over:
                return
            urgent = self.owner is not None and self.owner.is_urgent
            pause_s = max(self._backoff.next_s(urgent=urgent), self._pause_at_least_s)
            if self._drain_until is not None and not urgent:
                pause_s = max(0.0, self._drain_until - time.monotonic())
            self._pause_at_least_s, self._drain_until = 0.0, None
            self._nudged.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._nudged.wait()
            except TimeoutError:
                pass

    async def request(self, type_: str, data: Message) -> Message:
        """The data of the `ok`. Waits for a connection that is away. Raises: Refused, Disconnected."""
        if self._over:
            raise Disconnected
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (type_, data, answer)
        if self.is_ready:
            self._send({"type": type_, "id": number, "data": data})
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                message = await answer
        except TimeoutError:
            self._note("unanswered", request=number, asked=type_)
            raise Disconnected from None
        finally:
            self._waiting.pop(number, None)
        if message["type"] == "error":
            raise Refused(message["data"])
        return message.get("data") or {}

    def tell(self, type_: str, data: Message) -> None:
        """Says something that is not answered, if there is a session to hear it."""
        if self.is_ready:
            self._send({"type": type_, "data": data})

    def cut(self) -> None:
        """Loses the network; `run` comes back."""
        if self._socket is not None:
            self._socket.abort()

    def forget(self) -> None:
        """As a page that is loaded anew: knows nothing of its session, and begins another on the same device."""
        self._forget_session()
        self.cut()

    def end(self) -> None:
        """Ends the session at once, and with it whatever the device was doing."""
        self._over = True
        if self._socket is not None and not self._socket.is_gone:
            self._history.add(self._who, "shut", {"by": "us", "code": NORMAL}, **self._place())
            self._socket.close(NORMAL)
            self._lost(NORMAL)
        self._forget_session()
        self._nudged.set()

    # A socket's life.

    async def _attempt(self) -> None:
        owner = self.owner
        assert owner is not None
        patience_s = _URGENT_HANDSHAKE_S if owner.is_urgent else _HANDSHAKE_S
        self._sockets += 1
        address = self._rng.choice(self._addresses)
        try:
            socket = await Socket.connect(address, self._subprotocol, patience_s)
        except (NotLetIn, OSError, TimeoutError) as refusal:
            self._history.add(
                self._who, "note", {"not let in": repr(refusal), "at": address}, **self._place()
            )
            if isinstance(refusal, NotLetIn):
                self._pause_at_least_s = refusal.retry_after_s
            return
        if self._over:
            socket.abort()
            return
        loop = asyncio.get_running_loop()
        self._socket = socket
        self._gone = gone = loop.create_future()
        self._heard_at = time.monotonic()
        socket.on_message = self._receive
        socket.on_gone = self._server_shut
        self._history.add(self._who, "opened", {"at": address}, **self._place())
        self._shake_hands()
        began = self._heard_at
        while not gone.done():
            await asyncio.wait((gone,), timeout=_LOOK_S)
            now = time.monotonic()
            if gone.done():
                break
            if not self.is_ready and now - began > patience_s:
                self._drop("no handshake")
            elif now - self._heard_at > self._silence_s():
                self._drop("silence")
            elif self._drain_until is not None and now > self._drain_until:
                self._drop("drain")
            elif self.is_ready and self._last_seq > self._acked:
                self._send({"type": "ack"})
            if now - began > _STABLE_S:
                self._backoff.attempts = 0

    def _silence_s(self) -> float:
        urgent = self.owner is not None and self.owner.is_urgent
        return min(self._heartbeat_s, 5.0) + 4.0 if urgent else self._heartbeat_s + 8.0

    def _shake_hands(self) -> None:
        data = {
            "token": self._token,
            "device_id": self.device_id,
            "client": {"name": "chaos", "version": "1"},
        }
        if self.session:
            about = {"session_id": self.session, "last_seq": self._last_seq}
            self._send({"type": "session.resume", "data": {**data, **about}})
        else:
            self._send({"type": "session.start", "data": data})

    def _receive(self, payload: bytes) -> None:
        message: Message = msgspec.msgpack.decode(payload) if self._binary else msgspec.json.decode(payload)
        self._heard_at = time.monotonic()
        type_ = message["type"]
        data = message.get("data") or {}
        if type_ == "session.ready":
            self._ready(message, data)
            return
        self._history.add(self._who, "heard", tidy(message), **self._place())
        if type_ == "session.resumed":
            self._attached(data["last_id"])
            assert self.owner is not None
            self.owner.resumed()
        elif self._in_order(message.get("seq")):
            self._handle(type_, message, data)

    def _ready(self, message: Message, data: Message) -> None:
        before = self.session
        self.session = data["session_id"]
        self._history.add(self._who, "heard", tidy(message), **self._place())
        self._last_seq, self._acked = message.get("seq", 0), 0
        self._heartbeat_s = data["heartbeat_s"]
        if before:
            self._fail_waiting()
        self._attached(0)
        assert self.owner is not None
        self.owner.ready(data["snapshot"])

    def _attached(self, last_id: int) -> None:
        self.is_ready = True
        self._drain_until = None
        for number, (type_, data, answer) in sorted(self._waiting.items()):
            if number > last_id and not answer.done():
                self._send({"type": type_, "id": number, "data": data})

    def _in_order(self, seq: int | None) -> bool:
        if seq is None:
            return True
        if seq <= self._last_seq:
            return False
        if seq > self._last_seq + 1:
            # The checker will say so. Going on would hide it, as a good client's users would never know.
            self._drop("gap")
            self._forget_session()
            return False
        self._last_seq = seq
        if self._last_seq - self._acked >= _ACK_AFTER:
            self._send({"type": "ack"})
        return True

    def _handle(self, type_: str, message: Message, data: Message) -> None:
        if type_ == "ping":
            self._send({"type": "pong"})
        elif type_ in ("ok", "error"):
            waiting = self._waiting.get(message.get("id", 0))
            if waiting is not None and not waiting[2].done():
                waiting[2].set_result(message)
            elif type_ == "error":
                self._pause_at_least_s = (data.get("retry_after_ms") or 0) / 1000
        elif type_ == "session.drain":
            self._drain_until = time.monotonic() + data["reconnect_after_ms"] / 1000
        elif self.owner is not None:
            self.owner.hear(type_, data)

    def _send(self, message: Message) -> None:
        socket = self._socket
        if socket is None or socket.is_gone:
            return
        if self.is_ready and self._last_seq > self._acked and message["type"] != "pong":
            self._acked = message["ack"] = self._last_seq
        self._history.add(self._who, "sent", tidy(message), **self._place())
        payload = msgspec.msgpack.encode(message) if self._binary else msgspec.json.encode(message)
        socket.send(payload, binary=self._binary)

    def _drop(self, why: str) -> None:
        """Gives up a socket without waiting: the other end may be gone."""
        self._note("dropped", why=why)
        if self._socket is not None:
            self._socket.abort()

    def _server_shut(self, code: int | None) -> None:
        self._history.add(self._who, "shut", {"by": "them", "code": code}, **self._place())
        self._lost(code)

    def _lost(self, code: int | None) -> None:
        if self._socket is not None:
            self._socket.on_message = lambda _payload: None
            self._socket.on_gone = lambda _code: None
        self._socket = None
        self.is_ready = False
        if code is not None and 4500 <= code <= 4999:
            self._over = True
            self._fail_waiting()
        if code in (RESYNC, NORMAL):
            self._forget_session()
        if code == RATE:
            self._backoff.attempts = max(self._backoff.attempts, 4)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(code)

    def _forget_session(self) -> None:
        self.session = ""
        self._last_seq = self._acked = 0
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        for _, _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Disconnected())

    def _note(self, what: str, **more: Any) -> None:
        self._history.add(self._who, "note", {"what": what, **more}, **self._place())

    def _place(self) -> dict[str, Any]:
        return {"session": self.session, "socket": self._sockets}
