"""The same relay on aiohttp's own WebSockets, set up as one would for a hub."""

import asyncio
from functools import partial

import uvloop
from aiohttp import WSMsgType, web

from loadtests.edge.relay import READY, Pairs, announce, decode, encode, listen, tune_collector


class Peer:
    """One socket and the other one of its pair."""

    __slots__ = ("partner", "seq", "socket")

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.partner: Peer | None = None
        self.seq = 0


async def main() -> None:
    listener, _ = listen()
    pairs: Pairs[Peer] = Pairs()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            protocols=("minuet.v1.json",), compress=False, max_msg_size=64 * 1024, decode_text=False
        )
        await socket.prepare(request)
        me = Peer(socket)
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = decode(frame.data)
            partner = me.partner
            if partner is not None:
                partner.seq += 1
                # Bytes as they are: send_str would decode what orjson has just encoded.
                await partner.socket.send_frame(encode(message, partner.seq), WSMsgType.TEXT)
            elif (first := pairs.join(message["data"]["pair"], me)) is not None:
                me.partner, first.partner = first, me
                await socket.send_frame(READY, WSMsgType.TEXT)
                await first.socket.send_frame(READY, WSMsgType.TEXT)
        return socket

    app = web.Application()
    app.router.add_get("/v1/ws", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=4096).start()
    tune_collector()
    announce(listener, partial(print, flush=True))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
