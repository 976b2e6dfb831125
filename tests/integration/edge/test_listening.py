"""What every accepted socket has from the one it came to."""

import asyncio
import socket
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from minuet.wiring.listening import listen, serve_app
from signaling.connection import Connection
from signaling.doorway import DOOR, Door
from signaling.handshake import UpgradeSettings
from signaling.upgrade import Admission, ConnectionInfo, Entrance
from tests.integration.edge.edge_server import Recorder, always


async def test_the_kernel_looks_after_peers_that_vanish() -> None:
    """Of WebSockets and of requests alike: a peer that lost its power ends nothing by itself."""
    kept: list[int] = []

    def note(transport: asyncio.BaseTransport | None) -> None:
        assert transport is not None
        sock: socket.socket = transport.get_extra_info("socket")
        kept.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def accept(connection: Connection, info: ConnectionInfo) -> Recorder:
        note(connection._transport)
        return Recorder(connection, info)

    async def plain(request: web.Request) -> web.Response:
        note(request.transport)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", plain)
    entrance = Entrance(UpgradeSettings(), accept, lambda peer, _headers: peer, Admission(always, always))
    app[DOOR] = Door("/v1/ws", entrance, always)
    listening = listen("127.0.0.1", 0)
    async with AsyncExitStack() as stack:
        await serve_app(stack, app, listening)
        async with aiohttp.ClientSession() as http, http.get(listening.url):
            pass
        # Another session: else it would come over the connection of the first.
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{listening.url}/v1/ws", protocols=("minuet.v1.json",)),
        ):
            pass
    listening.socket.close()

    assert len(kept) == 2
    assert all(kept)
