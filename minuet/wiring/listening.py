"""An app on its port: binding, serving on one listening socket or several, and leaving without cutting anybody off."""

import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

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
    """An app that accepts on any number of listening sockets. They stay the caller's; it works on duplicates."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._sites: dict[int, web.SockSite] = {}

    async def accept_on(self, number: int, door: socket.socket) -> None:
        """Also accepts what comes to this socket."""
        if number not in self._sites:
            self._sites[number] = web.SockSite(self._runner, door.dup(), backlog=_BACKLOG)
            await self._sites[number].start()

    async def leave(self, number: int) -> None:
        """Leaves that socket to others again; who was accepted is served on."""
        site = self._sites.pop(number, None)
        if site is not None:
            await site.stop()

    async def stop_accepting(self) -> None:
        """Leaves all of them."""
        for number in tuple(self._sites):
            await self.leave(number)


async def serve_app(stack: AsyncExitStack, app: web.Application, listening: Listening) -> Server:
    """Serves `app` on the socket until the stack closes."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=_KEEPALIVE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = Server(runner)
    await server.accept_on(_MAIN, listening.socket)
    return server
