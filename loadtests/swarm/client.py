"""A client of the hub for tests and swarms: registers, connects, asks, waits for messages. Both codecs.

Knows the protocol only as docs/protocol.md tells it, and shares no code with the server.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp

from loadtests.swarm.wire import Closed, Message, RequestRefused, Wire

__all__ = ["Client", "Closed", "Message", "RequestRefused", "register"]

TIMEOUT_S = 30.0


async def register(
    http: aiohttp.ClientSession, base_url: str, *, gender: str, first_name: str = "Sam", **more: Any
) -> Message:
    """A new account: `{user, access_token, refresh_token, ...}`."""
    body = {
        "email": f"{uuid.uuid4().hex}@example.org",
        "password": "correct horse battery staple",
        "first_name": first_name,
        "gender": gender,
        "birth_date": "1995-04-01",
        "languages": ["en"],
        **more,
    }
    async with http.post(f"{base_url}/api/v1/auth/register", json=body) as response:
        answer = await response.json()
    if not answer["success"]:
        raise RequestRefused(answer["error"])
    data: Message = answer["data"]
    return {**data, "email": body["email"], "password": body["password"]}


class Client:
    """One device. Messages that no request waits for stay in `inbox` until somebody takes them."""

    def __init__(
        self, http: aiohttp.ClientSession, base_url: str, *, codec: str = "json", device_id: str | None = None
    ) -> None:
        self._http = http
        self._url = base_url.replace("http", "ws", 1) + "/v1/ws"
        self.wire = Wire(codec)
        self.device_id = device_id or uuid.uuid4().hex
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._arrived = asyncio.Condition()
        self._closed: Closed | None = None
        self.inbox: list[Message] = []
        self.session_id = ""
        self.ready: Message = {}
        self.account: Message = {}
        """Whoever registers the user may keep the account here."""
        self.handlers: dict[str, Callable[[Message], None]] = {}
        """Called with the data of messages of a type, at once, beside the inbox."""

    @property
    def last_seq(self) -> int:
        """The number of the last reliable message."""
        return self.wire.last_seq

    async def open(self) -> None:
        """Opens the socket, and says nothing yet."""
        self._closed = None
        self._socket = await self._http.ws_connect(
            self._url, protocols=[self.wire.subprotocol], autoping=True, max_msg_size=1 << 20
        )
        self._reader = asyncio.create_task(self._read())

    async def start(self, token: str) -> Message:
        """`session.start`; returns the data of `session.ready`."""
        if self._socket is None or self._closed is not None:
            await self.open()
        self.wire.begin()
        await self.send("session.start", {"token": token, "device_id": self.device_id})
        self.ready = await self.wait_for("session.ready")
        self.session_id = self.ready["session_id"]
        return self.ready

    async def resume(self, token: str) -> Message:
        """`session.resume` on a new socket; returns the message that answers it, of either kind."""
        await self.open()
        await self.send(
            "session.resume",
            {
                "token": token,
                "session_id": self.session_id,
                "last_seq": self.last_seq,
                "device_id": self.device_id,
            },
        )
        return await self.wait_until(lambda m: m["type"] in ("session.resumed", "session.ready"))

    async def request(self, type_: str, data: Message | None = None) -> Message:
        """Asks and returns the data of `ok`. Raises: RequestRefused, Closed, TimeoutError."""
        request_id = self.wire.next_id()
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = reply
        await self.send(type_, data, request_id)
        async with asyncio.timeout(TIMEOUT_S):
            message = await reply
        if message["type"] == "error":
            raise RequestRefused(message["data"])
        return message.get("data") or {}

    async def send(self, type_: str, data: Message | None = None, request_id: int | None = None) -> None:
        await self.send_raw(self.wire.frame(type_, data, request_id))

    async def send_raw(self, payload: bytes, *, binary: bool | None = None) -> None:
        if self._socket is None:
            raise Closed(None, "not open")
        if self.wire.binary if binary is None else binary:
            await self._socket.send_bytes(payload)
        else:
            await self._socket.send_str(payload.decode())

    async def wait_for(self, type_: str, timeout_s: float = TIMEOUT_S, **fields: Any) -> Message:
        """Takes the first message of a type, whose data has these fields, out of the inbox; its data."""

        def fits(message: Message) -> bool:
            data = message.get("data") or {}
            return message["type"] == type_ and all(data.get(k) == v for k, v in fields.items())

        message = await self.wait_until(fits, timeout_s)
        return message.get("data") or {}

    async def wait_until(self, fits: Callable[[Message], bool], timeout_s: float = TIMEOUT_S) -> Message:
        """As `wait_for`, by any condition; the whole message. Raises: Closed, TimeoutError."""
        async with asyncio.timeout(timeout_s), self._arrived:
            while True:
                for index, message in enumerate(self.inbox):
                    if fits(message):
                        return self.inbox.pop(index)
                if self._closed is not None:
                    raise self._closed
                await self._arrived.wait()

    async def wait_closed(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """The close code, once the hub has closed the socket."""
        async with asyncio.timeout(timeout_s), self._arrived:
            while self._closed is None:
                await self._arrived.wait()
            return self._closed.code

    async def close(self, code: int = 1000) -> None:
        if self._socket is not None:
            await self._socket.close(code=code)
        await self._stop_reading()

    async def drop(self) -> None:
        """Loses the network: the socket is cut without a close frame."""
        if self._socket is not None:
            transport = self._socket._response.connection.transport  # type: ignore[union-attr]  # an open socket has both
            if transport is not None:
                transport.abort()
        await self._stop_reading()

    async def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._closed = self._closed or Closed(None, "closed by the client")

    async def _read(self) -> None:
        socket = self._socket
        if socket is None:
            return
        async for frame in socket:
            if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                await self._take(self.wire.read(frame.data))
        self._closed = Closed(socket.close_code, None)
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(self._closed)
        async with self._arrived:
            self._arrived.notify_all()

    async def _take(self, message: Message) -> None:
        if self.wire.owes_ack:
            await self.send("ack")
        if message["type"] == "ping":
            await self.send("pong")
        reply = self._replies.pop(message["id"], None) if "id" in message else None
        if reply is not None and not reply.done():
            reply.set_result(message)
            return
        handler = self.handlers.get(message["type"])
        if handler is not None:
            handler(message.get("data") or {})
        async with self._arrived:
            self.inbox.append(message)
            self._arrived.notify_all()
