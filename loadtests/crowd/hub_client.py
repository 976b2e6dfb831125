"""A client of the hub for greenlets: blocking calls, one socket, one greenlet that reads it.

Import it only where gevent has patched the standard library, as locust does at its import. In an asyncio program
`loadtests.swarm.client` is the same client.
"""

import time
import uuid
from collections import deque
from urllib.parse import urlsplit

import gevent
import websocket
from gevent.event import AsyncResult
from gevent.queue import Empty, Queue

from loadtests.swarm.wire import Closed, Message, RequestRefused, Wire

TIMEOUT_S = 10.0
_BUSY = (429, 503)


class HubClient:
    """One device. What no request waits for comes out of `next`, in order, over any number of sockets.

    Each of those messages has one field more than on the wire: `arrived`, when it came (`time.perf_counter`).
    """

    def __init__(self, base_url: str, codec: str) -> None:
        parts = urlsplit(base_url)
        self._url = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/v1/ws"
        self._wire = Wire(codec)
        self._device_id = uuid.uuid4().hex
        self._session_id = ""
        self._socket: websocket.WebSocket | None = None
        self._reader: gevent.Greenlet | None = None
        self._replies: dict[int, AsyncResult] = {}
        self._arrived: Queue = Queue()
        self._put_back: deque[Message] = deque()

    def start(self, token: str) -> Message:
        """Opens a socket and a session; the data of `session.ready`. Raises: Closed, TimeoutError."""
        self._wire.begin()
        self._open()
        self._send("session.start", {"token": token, "device_id": self._device_id})
        ready: Message = self._await_first("session.ready")["data"]
        self._session_id = ready["session_id"]
        return ready

    def resume(self, token: str) -> bool:
        """Comes back on a new socket; whether the session was still there. Raises: Closed, TimeoutError."""
        self._open()
        about = {
            "session_id": self._session_id,
            "last_seq": self._wire.last_seq,
            "device_id": self._device_id,
        }
        self._send("session.resume", {"token": token, **about})
        answer: str = self._await_first("session.resumed", "session.ready")["type"]
        return answer == "session.resumed"

    def request(self, type_: str, data: Message | None = None) -> Message:
        """Asks, and returns the data of `ok`. Raises: RequestRefused, Closed, TimeoutError."""
        number = self._wire.next_id()
        reply = self._replies[number] = AsyncResult()
        try:
            self._send(type_, data, number)
            message = reply.get(timeout=TIMEOUT_S)
        except gevent.Timeout:
            raise TimeoutError(f"no reply to {type_} within {TIMEOUT_S:.0f} s") from None
        finally:
            del self._replies[number]
        if message["type"] == "error":
            raise RequestRefused(message["data"])
        return message.get("data") or {}

    def tell(self, type_: str, data: Message) -> None:
        """Says something that is not answered. Raises: Closed."""
        self._send(type_, data)

    def next(self, timeout_s: float) -> Message | None:
        """The next message that answers no request; None where none comes in time. Raises: Closed."""
        if self._put_back:
            return self._put_back.popleft()
        try:
            arrived: Message | Closed = self._arrived.get(timeout=timeout_s)
        except Empty:
            return None
        if isinstance(arrived, Closed):
            raise arrived
        return arrived

    def put_back(self, messages: list[Message]) -> None:
        """Gives back messages that `next` had returned, for later."""
        self._put_back.extendleft(reversed(messages))

    def drop(self) -> None:
        """Loses the network: the socket goes without a close frame."""
        self._stop_reading()
        if self._socket is not None:
            _cut(self._socket)
            self._socket = None

    def close(self) -> None:
        """Ends the session."""
        self._stop_reading()
        if self._socket is not None:
            try:
                self._socket.close(timeout=1)
            except (OSError, websocket.WebSocketException):
                _cut(self._socket)
            self._socket = None

    def _open(self) -> None:
        self.drop()
        self._socket = self._connect()
        self._reader = gevent.spawn(self._read, self._socket)

    def _connect(self) -> websocket.WebSocket:
        """Waits and tries again where the hub says that there were too many handshakes."""
        until = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return websocket.create_connection(
                    self._url,
                    timeout=TIMEOUT_S,
                    subprotocols=[self._wire.subprotocol],
                    suppress_origin=True,
                    skip_utf8_validation=True,
                )
            except websocket.WebSocketBadStatusException as refused:
                pause_s = float((refused.resp_headers or {}).get("retry-after", 1))
                if refused.status_code not in _BUSY or time.monotonic() + pause_s > until:
                    raise Closed(None, f"the handshake was answered by {refused.status_code}") from None
                gevent.sleep(pause_s)

    def _await_first(self, *types: str) -> Message:
        """The message that answers the first one of a socket; what came before it stays for `next`."""
        until = time.monotonic() + TIMEOUT_S
        before: list[Message] = []
        while (left := until - time.monotonic()) > 0:
            message = self.next(left)
            if message is None:
                break
            if message["type"] in types:
                self.put_back(before)
                return message
            if message["type"] == "error":
                raise RequestRefused(message["data"])
            before.append(message)
        raise TimeoutError(f"no {' or '.join(types)} within {TIMEOUT_S:.0f} s")

    def _send(self, type_: str, data: Message | None = None, number: int | None = None) -> None:
        payload = self._wire.frame(type_, data, number)
        if self._socket is None:
            raise Closed(None, "not open")
        opcode = websocket.ABNF.OPCODE_BINARY if self._wire.binary else websocket.ABNF.OPCODE_TEXT
        try:
            self._socket.send(payload, opcode)
        except (OSError, websocket.WebSocketException) as error:
            raise Closed(None, str(error)) from None

    def _read(self, socket: websocket.WebSocket) -> None:
        # Silence is the server's to break: it pings, and the test's patience bounds everything else.
        socket.settimeout(None)
        closed = Closed(None, "lost")
        try:
            while True:
                opcode, payload = socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
                    closed = Closed(code, payload[2:].decode(errors="replace"))
                    break
                self._take(self._wire.read(payload))
        except (OSError, websocket.WebSocketException) as error:
            closed = Closed(None, str(error))
        for reply in self._replies.values():
            reply.set_exception(closed)
        self._arrived.put(closed)

    def _take(self, message: Message) -> None:
        if message["type"] == "ping":
            self._send("pong")
            return
        if self._wire.owes_ack:
            self._send("ack")
        reply = self._replies.get(message.get("id", 0))
        if reply is not None:
            reply.set(message)
        else:
            message["arrived"] = time.perf_counter()
            self._arrived.put(message)

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.kill()
            self._reader = None


def _cut(connection: websocket.WebSocket) -> None:
    connection.shutdown()  # type: ignore[no-untyped-call]  # the library has no annotations
