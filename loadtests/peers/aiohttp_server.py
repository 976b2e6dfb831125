"""The relay on aiohttp's own WebSockets with orjson and redis-py, as one writes it: partners on other processes are told by Redis.

With `BENCH_PROMISES=1` it makes the promises that Minuet makes to a client, and still checks nothing: each message is answered
by an `ok`, and whatever was sent is kept until the client acknowledges it. So it shows what the promises cost, whoever makes them.
"""

import asyncio
import gc
import hashlib
import hmac
import os
import socket
import time
import uuid
from base64 import urlsafe_b64decode
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import redis.asyncio
import uvloop
from aiohttp import WSMsgType, web

PREFIX: Final = os.environ["BENCH_PREFIX"]
PROMISES: Final = os.environ.get("BENCH_PROMISES") == "1"
NODE: Final = str(os.getpid())
PRESENCE_S: Final = 60
OUTBOX: Final = 128
CONNECTIONS: Final = 32
JOIN: Final = """
local other = redis.call('LPOP', KEYS[2])
if not other then redis.call('RPUSH', KEYS[1], ARGV[1]) end
return other"""


class Forged(Exception):
    """Not a token of ours, or one of the past."""


def verify(token: str, secret: bytes) -> str:
    """Who a token speaks for. Raises: Forged."""
    head, body, signature = (part.encode() for part in token.split("."))
    expected = hmac.digest(secret, head + b"." + body, hashlib.sha256)
    claims = orjson.loads(_decoded(body))
    signed = (
        hmac.compare_digest(_decoded(signature), expected) and orjson.loads(_decoded(head))["alg"] == "HS256"
    )
    if not signed or claims["exp"] < time.time():
        raise Forged
    user: str = claims["sub"]
    return user


def _decoded(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


class Elsewhere:
    """The other one of a pair, whose socket another process has."""

    def __init__(self, client: "redis.asyncio.Redis", node: str, user: str) -> None:
        self._redis = client
        self._channel = f"{PREFIX}node:{node}"
        self._user = user

    async def tell(self, type_: str, data: Any, **about: str) -> None:
        """Has that process send the next message."""
        await self._redis.publish(
            self._channel, orjson.dumps({"to": self._user, "type": type_, "data": data, **about})
        )


class Peer:
    """One socket, its user and the other one of its pair."""

    __slots__ = ("partner", "seq", "socket", "user")

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.user = ""
        self.partner: Peer | Elsewhere | None = None
        self.seq = 0

    async def take(self, message: dict[str, Any]) -> None:
        """Passes a message on."""
        assert self.partner is not None
        await self.partner.tell(message["type"], message["data"])

    async def tell(self, type_: str, data: Any) -> None:
        """Sends the next message."""
        self.seq += 1
        # Bytes as they are: send_str would decode what orjson has just encoded.
        await self.socket.send_frame(
            orjson.dumps({"type": type_, "seq": self.seq, "data": data}), WSMsgType.TEXT
        )


class PromisingPeer(Peer):
    """Keeps what it sends until it is acknowledged, and says `ok` to each message that was passed on."""

    __slots__ = ("outbox",)

    def __init__(self, socket: web.WebSocketResponse) -> None:
        super().__init__(socket)
        self.outbox: deque[tuple[int, bytes]] = deque()

    async def tell(self, type_: str, data: Any) -> None:
        await self._send({"type": type_, "seq": self.seq + 1, "data": data})

    async def take(self, message: dict[str, Any]) -> None:
        """Passes a message on and answers it."""
        outbox, seen = self.outbox, message["ack"]
        while outbox and outbox[0][0] <= seen:
            outbox.popleft()
        assert self.partner is not None
        await self.partner.tell(message["type"], message["data"])
        await self._send({"type": "ok", "id": message["id"], "seq": self.seq + 1})

    async def _send(self, message: dict[str, Any]) -> None:
        if len(self.outbox) >= OUTBOX:
            await self.socket.close(code=4006)
            return
        self.seq += 1
        payload = orjson.dumps(message)
        self.outbox.append((self.seq, payload))
        await self.socket.send_frame(payload, WSMsgType.TEXT)


class Relay:
    """Who is here, and what each of them says."""

    def __init__(self, client: "redis.asyncio.Redis", secret: bytes) -> None:
        self._redis = client
        self._secret = secret
        self._join = client.register_script(JOIN)
        self._here: dict[str, Peer] = {}

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One socket's life."""
        socket = web.WebSocketResponse(
            protocols=("minuet.v1.json",), compress=False, max_msg_size=64 * 1024, decode_text=False
        )
        await socket.prepare(request)
        me = PromisingPeer(socket) if PROMISES else Peer(socket)
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    break
                message = orjson.loads(frame.data)
                if me.partner is not None:
                    await me.take(message)
                elif not me.user:
                    await self._start(me, message["data"]["token"])
                else:
                    await self._meet(me, message["data"]["side"])
        finally:
            if self._here.pop(me.user, None) is not None:
                await self._redis.delete(f"{PREFIX}presence:{me.user}")
        return socket

    async def _start(self, me: Peer, token: str) -> None:
        me.user = verify(token, self._secret)
        await self._redis.set(f"{PREFIX}presence:{me.user}", "here", ex=PRESENCE_S)
        self._here[me.user] = me
        await me.tell("session.ready", {})

    async def _meet(self, me: Peer, side: int) -> None:
        own, theirs = ("a", "b") if side == 0 else ("b", "a")
        found = await self._join(
            keys=[f"{PREFIX}queue:{own}", f"{PREFIX}queue:{theirs}"], args=[f"{NODE} {me.user}"]
        )
        if found is None:
            return
        node, user = found.decode().split()
        call_id = str(uuid.uuid4())
        offer = {"call_id": call_id, "offerer": True}
        if node == NODE:
            other = self._here.get(user)
            if other is None:
                return
            me.partner, other.partner = other, me
            await other.tell("match.found", offer)
        else:
            me.partner = Elsewhere(self._redis, node, user)
            await me.partner.tell("match.found", offer, met=me.user, node=NODE)
        await me.tell("match.found", {"call_id": call_id, "offerer": False})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Task[None]]:
        """Passes on what other processes have for the people here."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as bus:
            await bus.subscribe(f"{PREFIX}node:{NODE}")
            yield asyncio.create_task(self._pass_on(bus))

    async def _pass_on(self, bus: "redis.asyncio.client.PubSub") -> None:
        async for published in bus.listen():
            message = orjson.loads(published["data"])
            peer = self._here.get(message["to"])
            if peer is None:
                continue
            if "met" in message:
                peer.partner = Elsewhere(self._redis, message["node"], message["met"])
            await peer.tell(message["type"], message["data"])


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        os.environ["BENCH_REDIS_URL"], max_connections=CONNECTIONS, timeout=None
    )
    relay = Relay(redis.asyncio.Redis(connection_pool=pool), os.environ["BENCH_SECRET"].encode())
    app = web.Application()
    app.router.add_get("/v1/ws", relay.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=4096).start()
    async with relay.listening() as bus:
        # What a hub does after its start, too: what lives now lives on, and the collector comes seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        print(f"ready {listener.getsockname()[1]}", flush=True)
        await bus


if __name__ == "__main__":
    uvloop.run(main())
