"""A TCP proxy that breaks connections on demand; also a small balancer. Runs as a process of its own.

    python -m tests.chaos.proxy

reads commands from standard input and answers each on standard output, JSON a line (`proxy_process.py` speaks for
tests). A link listens on a port of its own and passes bytes on to its targets: one server, or several in turn, without
those that refuse. What can be done to a link, also while connections are open:

stall     nothing moves in the named directions; connections stay open, ends and resets wait too
delay     every byte moves that much later, in order
cut       each connection is reset after so many more bytes, wherever in a message that is
reset     every open connection is reset (RST at both ends), now
refuse    nobody listens: the system answers connection refused

A process apart: it must neither be slowed by the swarm that talks through it, nor slow it. A link keeps at most
`HELD` bytes of a direction of a connection; then it stops reading, as a network would.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, cast

import uvloop

LOOPBACK = "127.0.0.1"
HELD = 256 * 1024
DIAL_S = 2.0
BACKLOG = 4096
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Direction = Literal["up", "down"]
"""`up`: from who dialled to the target."""


@dataclass(slots=True)
class Counters:
    """What happened on a link since it is there; for evidence."""

    accepted: int = 0
    open: int = 0
    skipped: int = 0
    """Targets passed over because they did not take the connection."""
    unreachable: int = 0
    """Connections that no target took."""
    reset: int = 0
    """Connections that the proxy reset on command."""
    cut: int = 0
    """Connections that the proxy reset in the middle of what was sent."""
    moved_up: int = 0
    moved_down: int = 0
    stalled_bytes: int = 0
    """Arrived while their direction was stalled."""
    delayed_bytes: int = 0


class End(asyncio.Protocol):
    """One end of a connection: what is read here goes out at the other end, or is held."""

    def __init__(self, link: "Link", direction: Direction) -> None:
        self._link = link
        self.direction = direction
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._finished: Literal["no", "eof", "lost", "reset"] = "no"
        self._told = "no"
        self._clogged = False
        self.allowance: int | None = link.cut_after
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.opened(self)

    def data_received(self, data: bytes) -> None:
        link = self._link
        stalled = self.direction in link.stalled
        if stalled:
            link.counters.stalled_bytes += len(data)
        elif link.delay_s:
            link.counters.delayed_bytes += len(data)
        if self.other is None or stalled or link.delay_s or self._held:
            self._held.append((time.monotonic() + link.delay_s, data))
            self._held_bytes += len(data)
            self.pump()
            self._read_or_wait()
        else:
            self._move(data)

    def eof_received(self) -> bool:
        self._finish("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._link.closed(self.direction)
        self._finish("reset" if isinstance(error, ConnectionResetError) else "lost")

    def pause_writing(self) -> None:
        self._clogged = True
        if self.other is not None:
            self.other._read_or_wait()

    def resume_writing(self) -> None:
        self._clogged = False
        if self.other is not None:
            self.other._read_or_wait()

    def join(self, other: "End") -> None:
        """The connection goes on there."""
        self.other = other
        self.pump()
        self._read_or_wait()

    def pump(self) -> None:
        """Moves what is held and due; then tells the other end of this one's end."""
        if self.other is None or self.direction in self._link.stalled:
            return
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            _, data = self._held.popleft()
            self._held_bytes -= len(data)
            self._move(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._timer = asyncio.get_running_loop().call_later(self._held[0][0] - now, self.pump)
        elif self._finished != self._told:
            self._told = self._finished
            self.other.follow(self._finished)
            if self._finished != "eof":
                self._link.forget(self)
        self._read_or_wait()

    def hurry(self) -> None:
        """Forgets delays of what is held."""
        self._held = deque((0.0, data) for _, data in self._held)

    def follow(self, how: str) -> None:
        """The other end has finished; this one does it likewise."""
        if self._transport is None or self._transport.is_closing():
            return
        if how == "reset":
            self.abort()
        elif how == "lost" or self._finished == "eof":
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def abort(self) -> bool:
        """Resets this end: RST, whatever is unsent is lost. False where it was over already."""
        self._held.clear()
        self._held_bytes = 0
        if self._transport is None or self._transport.is_closing():
            return False
        option = (socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        # uvloop knows of some transports only later that their descriptor is gone, and says so by ValueError.
        with contextlib.suppress(ValueError):
            self._transport.get_extra_info("socket").setsockopt(*option)
        self._transport.abort()
        return True

    def _move(self, data: bytes) -> None:
        assert self.other is not None
        cut = self.allowance is not None and len(data) >= self.allowance
        if self.allowance is not None:
            data = data[: self.allowance]
            self.allowance -= len(data)
        self._link.moved(self.direction, len(data))
        transport = self.other._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
        if cut:
            self.allowance = None
            # Once round the loop: the bytes before the cut are to arrive.
            asyncio.get_running_loop().call_soon(self._link.cut, self)

    def _finish(self, how: Literal["eof", "lost", "reset"]) -> None:
        self._finished = how
        self.pump()

    def _read_or_wait(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wait = self._held_bytes >= HELD or (self.other is not None and self.other._clogged)
        if wait and transport.is_reading():
            transport.pause_reading()
        elif not wait and not transport.is_reading() and self._finished == "no":
            transport.resume_reading()


class Link:
    """One listening port and where its connections go."""

    def __init__(self, targets: Iterable[tuple[str, int]]) -> None:
        self.targets = list(targets)
        self.counters = Counters()
        self.stalled: frozenset[Direction] = frozenset()
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.port = 0
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._ends: set[End] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def listen(self) -> None:
        """Takes connections, on the same port as before."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._arrived, LOOPBACK, self.port, backlog=BACKLOG)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Stops listening; open connections stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def stall(self, directions: Iterable[Direction]) -> None:
        """Nothing moves in these directions; in the others it does."""
        self.stalled = frozenset(directions)
        if self.stalled:
            self._flowing.clear()
        else:
            self._flowing.set()
        for end in tuple(self._ends):
            end.pump()

    def delay(self, delay_s: float) -> None:
        self.delay_s = delay_s
        if not delay_s:
            for end in tuple(self._ends):
                end.hurry()
                end.pump()

    def cut_in(self, bytes_left: int | None) -> None:
        """Open connections, and those to come, are reset after so many more bytes of a direction. None: no more."""
        self.cut_after = bytes_left
        for end in self._ends:
            end.allowance = bytes_left

    def reset(self) -> int:
        """Resets every connection; the number of them."""
        for dial in self._dials:
            dial.cancel()
        ends = tuple(self._ends)
        count = sum(end.abort() for end in ends if end.direction == "up")
        for end in ends:
            end.abort()
        self.counters.reset += count
        return count

    def cut(self, end: End) -> None:
        """Resets one connection, because it has had its bytes."""
        self.counters.cut += 1
        end.abort()
        if end.other is not None:
            end.other.abort()

    def moved(self, direction: Direction, count: int) -> None:
        if direction == "up":
            self.counters.moved_up += count
        else:
            self.counters.moved_down += count

    def opened(self, end: End) -> None:
        self._ends.add(end)

    def closed(self, direction: Direction) -> None:
        if direction == "up":
            self.counters.open -= 1

    def forget(self, end: End) -> None:
        """The end is over, and the other one knows: nothing of it is held any more."""
        self._ends.discard(end)

    def close(self) -> None:
        self.refuse()
        self.reset()

    def _arrived(self) -> End:
        self.counters.accepted += 1
        self.counters.open += 1
        end = End(self, "up")
        dial = asyncio.get_running_loop().create_task(self._dial(end))
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)
        return end

    async def _dial(self, near: End) -> None:
        """Finds the connection a target; the next one in turn, as long as they refuse."""
        try:
            await self._flowing.wait()
            await self._find_target(near)
        finally:
            if near.other is None:
                near.abort()
                self.forget(near)

    async def _find_target(self, near: End) -> None:
        loop = asyncio.get_running_loop()
        self._turn += 1
        first = self._turn % max(1, len(self.targets))
        for host, port in self.targets[first:] + self.targets[:first]:
            try:
                async with asyncio.timeout(DIAL_S):
                    _, far = await loop.create_connection(partial(End, self, "down"), host, port)
            except OSError:
                self.counters.skipped += 1
                continue
            near.join(far)
            far.join(near)
            return
        self.counters.unreachable += 1


class Proxy:
    """All links of a process, by name."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries out one command. Raises: KeyError for a link or command that does not exist."""
        name = command["link"]
        if command["do"] == "open":
            link = self._links[name] = Link(_targets(command))
            await link.listen()
            return {"port": link.port}
        link = self._links[name]
        match command["do"]:
            case "targets":
                link.targets = _targets(command)
            case "stall":
                link.stall(command["directions"])
            case "delay":
                link.delay(command["delay_s"])
            case "cut":
                link.cut_in(command["after"])
            case "reset":
                return {"count": link.reset()}
            case "refuse":
                link.refuse()
            case "accept":
                await link.listen()
            case "count":
                return asdict(link.counters)
            case other:
                raise KeyError(other)
        return {}

    def close(self) -> None:
        for link in self._links.values():
            link.close()


def _targets(command: dict[str, Any]) -> list[tuple[str, int]]:
    return [(host, port) for host, port in command["targets"]]


async def serve() -> None:
    """Until standard input ends: whoever started us is gone then, or has closed it to say so."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    proxy = Proxy()
    try:
        while line := await reader.readline():
            try:
                answer = await proxy.do(json.loads(line))
            except (KeyError, OSError) as error:
                answer = {"error": repr(error)}
            print(json.dumps(answer), flush=True)
    finally:
        proxy.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve())
