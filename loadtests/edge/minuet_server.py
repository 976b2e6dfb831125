"""The socket edge of Minuet, with pairs that relay and nothing else."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import uvloop
from aiohttp import web

from loadtests.edge.relay import READY, Pairs, announce, decode, encode, listen, tune_collector
from minuet.wiring.listening import Listening, serve_app
from signaling.connection import Connection, ConnectionSettings
from signaling.doorway import DOOR, Door
from signaling.handshake import UpgradeSettings
from signaling.upgrade import Admission, ConnectionInfo, Entrance, websocket_handler


class Relay:
    """The listener of one connection."""

    __slots__ = ("connection", "pairs", "partner", "seq")

    def __init__(self, pairs: Pairs["Relay"], connection: Connection, info: ConnectionInfo) -> None:
        self.pairs = pairs
        self.connection = connection
        self.partner: Relay | None = None
        self.seq = 0

    def message_received(self, payload: bytes, binary: bool) -> None:
        message = decode(payload)
        partner = self.partner
        if partner is not None:
            partner.seq += 1
            partner.connection.send(encode(message, partner.seq))
        elif (first := self.pairs.join(message["data"]["pair"], self)) is not None:
            self.partner, first.partner = first, self
            self.connection.send(READY)
            first.connection.send(READY)

    def traffic_seen(self) -> None: ...

    def writing_paused(self) -> None: ...

    def writing_resumed(self) -> None: ...

    def connection_closed(self, code: int, clean: bool) -> None:
        self.partner = None


async def main() -> None:
    listener, _ = listen()
    settings = UpgradeSettings(connection=ConnectionSettings(max_message_bytes=64 * 1024))
    everybody = Admission(address_limit=lambda _: None, accept_gate=lambda: None)
    app = web.Application()
    entrance = Entrance(settings, partial(Relay, Pairs()), lambda peer, _headers: peer, everybody)
    app.router.add_get("/v1/ws", websocket_handler(entrance))
    app[DOOR] = Door("/v1/ws", entrance, lambda _status: None)
    async with AsyncExitStack() as stack:
        await serve_app(stack, app, Listening(listener))
        tune_collector()
        announce(listener, partial(print, flush=True))
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
