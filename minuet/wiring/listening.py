"""An app on its port: binding, serving on one listening socket or several, and leaving without cutting anybody off."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from signaling.doorway import DOOR, Porch

_BACKLOG = 4096
_SHUTDOWN_S = 2.0
_KEEPALIVE_S = 75.0
_MAIN = -1


@dataclass(frozen=True, slots=True)
class Listening:
    """A bound socket and the address to show for it."""

    socket: socket.socket

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int) -> Listening:
    """Binds and listens, so that the port is known (and a taken one is told) before anything else starts.

    Raises: OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    bound.setblocking(False)
    return Listening(bound)


class Server:
    """What makes a protocol for each socket, on any number of listening ones. They stay the caller's; it works on duplicates."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._listening: dict[int, asyncio.Server | None] = {}

    async def accept_on(self, number: int, door: socket.socket) -> None:
        """Also accepts what comes to this socket."""
        if number not in self._listening:
            self._listening[number] = None
            loop = asyncio.get_running_loop()
            ours = door.dup()
            # Inherited by every socket that is accepted: the kernel looks after peers that have vanished.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            server = await loop.create_server(self._make, sock=ours, backlog=_BACKLOG)
            if number in self._listening:
                self._listening[number] = server
            else:
                server.close()  # left meanwhile

    async def leave(self, number: int) -> None:
        """Leaves that socket to others again; who was accepted is served on."""
        server = self._listening.pop(number, None)
        if server is not None:
            server.close()

    async def stop_accepting(self) -> None:
        """Leaves all of them."""
        for number in tuple(self._listening):
            await self.leave(number)


async def serve_app(stack: AsyncExitStack, app: web.Application, listening: Listening) -> Server:
    """Serves `app` on the socket until the stack closes, and what its WebSocket door leads to, where it has one."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=_KEEPALIVE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    http = runner.server
    if http is None:
        raise RuntimeError("the runner was set up and has no server")
    make: Callable[[], asyncio.Protocol] = http
    if (door := app.get(DOOR)) is not None:
        make = porch = Porch(door, http)
        stack.callback(porch.close)
    server = Server(make)
    stack.push_async_callback(server.stop_accepting)
    await server.accept_on(_MAIN, listening.socket)
    return server
