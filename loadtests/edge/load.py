"""Clients that cost little: sockets and epoll, no event loop, frames made beforehand.

The generator spins. It never sleeps while a measurement runs, so no wake-up of it is charged to the server, and it is
quicker per message than the servers it measures: `idle_share` says how often it found nothing to do.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from loadtests.edge.server_process import Usage
from loadtests.edge.targets import Script, Target

_MASK: Final = b"\x5a\xa5\x3c\xc3"
_READ: Final = 262_144
_PATIENCE_S: Final = 20.0


def masked_frame(payload: bytes) -> bytes:
    """A client's text frame."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    key = int.from_bytes((_MASK * (size // 4 + 1))[:size], "big")
    return head + _MASK + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


class Client:
    """One socket. Counts what comes once it relays; before, it follows its script."""

    __slots__ = ("_buffer", "frames", "script", "sock")

    def __init__(self, sock: socket.socket, script: Script) -> None:
        self.sock = sock
        self.script = script
        self.frames: Iterator[bytes] = iter(())
        self._buffer = b""

    def messages(self, data: bytes) -> list[bytes]:
        """The payloads of the frames that are complete now."""
        data = self._buffer + data
        found = []
        while len(data) >= 2:
            start, size = (2, data[1]) if data[1] < 126 else (4, int.from_bytes(data[2:4], "big"))
            if len(data) < max(start, start + size):
                break
            if data[0] != 0x81:
                raise RuntimeError(f"the server sent {data[:100]!r}")
            found.append(data[start : start + size])
            data = data[start + size :]
        self._buffer = data
        return found


@dataclass(frozen=True, slots=True)
class Relayed:
    """What a run of the relay gave."""

    messages: int
    seconds: float
    cpu_s: float
    waited_s: float
    idle_share: float


class Swarm:
    """All clients of one server."""

    def __init__(self, target: Target, port: int) -> None:
        self._target = target
        self._port = port
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._request = (
            f"GET {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {target.subprotocol}\r\nUser-Agent: minuet-edge-bench\r\n\r\n"
        ).encode()

    def __len__(self) -> int:
        return len(self._clients)

    def connect(self, count: int, at_once: int = 64) -> None:
        """Open connections that stay idle, so many handshakes at a time. Raises: TimeoutError, RuntimeError."""
        missing, pending = count, set[int]()
        until = time.monotonic() + _PATIENCE_S
        while missing or pending:
            while missing and len(pending) < at_once:
                sock = socket.create_connection(("127.0.0.1", self._port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                number = len(self._clients)
                self._clients[sock.fileno()] = Client(sock, self._target.script(number // 2, number % 2))
                self._epoll.register(sock.fileno(), select.EPOLLIN)
                sock.send(self._request)
                pending.add(sock.fileno())
                missing -= 1
            for descriptor, _ in self._epoll.poll(0):
                answer = self._clients[descriptor].sock.recv(_READ)
                if not (answer.startswith(b"HTTP/1.1 101") and answer.endswith(b"\r\n\r\n")):
                    raise RuntimeError(f"the handshake was answered by {answer[:200]!r}")
                pending.discard(descriptor)
            _in_time(until, "handshakes")

    def pair_up(self) -> None:
        """Lead every client through its script until all are ready. Raises: TimeoutError."""
        for client in self._clients.values():
            if opening := client.script.opening():
                client.sock.send(masked_frame(opening))
        until = time.monotonic() + _PATIENCE_S
        waiting = sum(not client.script.is_ready for client in self._clients.values())
        while waiting:
            for descriptor, _ in self._epoll.poll(0):
                client = self._clients[descriptor]
                was_ready = client.script.is_ready
                for message in client.messages(client.sock.recv(_READ)):
                    if answer := client.script.heard(message):
                        client.sock.send(masked_frame(answer))
                waiting -= client.script.is_ready and not was_ready
            _in_time(until, "pairs")

    def relay(self, kind: str, seconds: float, usage: Callable[[], Usage]) -> Relayed:
        """Keep one message on its way in each pair, to and fro; measure the server's CPU time for them."""
        clients = list(self._clients.values())
        for client in clients:
            client.frames = _frames(client.script, kind)
        for client in clients[::2]:
            client.sock.send(next(client.frames))
        self._spin(seconds / 4)
        before, began = usage(), time.monotonic()
        count, polls, empty = self._spin(seconds)
        after, ended = usage(), time.monotonic()
        self._settle()
        return Relayed(
            messages=count,
            seconds=ended - began,
            cpu_s=after.cpu_s - before.cpu_s,
            waited_s=after.waited_s - before.waited_s,
            idle_share=empty / polls,
        )

    def _spin(self, seconds: float) -> tuple[int, int, int]:
        """Answer every message with one; return messages, polls, and polls that found nothing."""
        poll, clients, now = self._epoll.poll, self._clients, time.monotonic
        count = polls = empty = 0
        until = now() + seconds
        while now() < until:
            events = poll(0, 256)
            polls += 1
            empty += not events
            for descriptor, _ in events:
                client = clients[descriptor]
                data = client.sock.recv(_READ)
                # The usual read is one whole frame of the long form; whatever else takes the long way.
                if len(data) > 4 and data[1] == 126 and len(data) == 4 + (data[2] << 8 | data[3]):
                    count += 1
                    client.sock.send(next(client.frames))
                else:
                    for _ in client.messages(data):
                        count += 1
                        client.sock.send(next(client.frames))
        return count, polls, empty

    def _settle(self) -> None:
        """Let what is on its way arrive, and answer it no more."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.1:
            for descriptor, _ in self._epoll.poll(0.02):
                client = self._clients[descriptor]
                client.messages(client.sock.recv(_READ))
                quiet_since = time.monotonic()

    def close(self) -> None:
        """Cut all off. A reset leaves no port behind in TIME_WAIT."""
        for client in self._clients.values():
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        self._clients.clear()
        self._epoll.close()


def _frames(script: Script, kind: str) -> Iterator[bytes]:
    """The script's messages as frames; where it repeats one message, it is masked once."""
    messages = script.relayed(kind)
    first, second = next(messages), next(messages)
    if first is second:
        return cycle([masked_frame(first)])
    return map(masked_frame, _chained(first, second, messages))


def _chained(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


def _in_time(until: float, what: str) -> None:
    if time.monotonic() > until:
        raise TimeoutError(f"the {what} did not complete within {_PATIENCE_S:.0f} s")
