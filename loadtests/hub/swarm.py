"""Clients that cost little: sockets and epoll, no event loop. The same for every server under test.

While something is measured the generator spins: it never sleeps, so that no wake-up of it is charged to the server.
"""

import itertools
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from loadtests.edge.server_process import Usage
from loadtests.hub.talk import Talk

_READ: Final = 262_144
_PATIENCE_S: Final = 60.0
_TENDING_S: Final = 0.5
_RESET: Final = struct.pack("ii", 1, 0)
HANDSHAKE: Final = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: minuet.v1.json\r\n\r\n"
)
_HEADER: Final = struct.Struct("!BBHI").pack
_CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


def frame(payload: bytes) -> bytes:
    """A client's text frame. Its mask is zero, which servers apply as they do any other."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, 0x80 | size, 0, 0, 0, 0)) + payload
    return _HEADER(0x81, 0xFE, size, 0) + payload


class Client:
    """One socket and what its user says."""

    __slots__ = ("_buffer", "answered", "partner", "sent_at", "sock", "talk")

    def __init__(self, sock: socket.socket, talk: Talk) -> None:
        self.sock = sock
        self.talk = talk
        self.answered = False
        """Whether the handshake is."""
        self.partner: Client = self
        self.sent_at: deque[float] = deque()
        self._buffer = b""

    def messages(self, data: bytes) -> list[bytes]:
        """The payloads of the frames that are complete now. Raises: RuntimeError for a frame that is not text."""
        if self._buffer:
            data = self._buffer + data
        found = []
        start, size = 0, len(data)
        while size - start >= 2:
            length = data[start + 1]
            begin = start + 2
            if length == 126:
                if size - start < 4:
                    break
                length = data[start + 2] << 8 | data[start + 3]
                begin = start + 4
            if begin + length > size:
                break
            if data[start] != 0x81 or length == 127:
                raise RuntimeError(f"the server sent {data[start : start + 100]!r}")
            found.append(data[begin : begin + length])
            start = begin + length
        self._buffer = data[start:]
        return found


@dataclass(frozen=True, slots=True)
class Relayed:
    """What a measurement of the relay gave: the server's CPU time, and for how long it waited for its core."""

    messages: int
    seconds: float
    cpu_s: float
    waited_s: float
    idle_share: float
    latencies_ms: Sequence[float]


class Swarm:
    """Clients of one server, or of several that stand for one, by turns."""

    def __init__(self, *ports: int, handshake: bytes = HANDSHAKE) -> None:
        self._ports = itertools.cycle(ports)
        self._handshake = handshake
        self._clients: dict[int, Client] = {}
        self._leaders: list[Client] = []
        self._epoll = select.epoll()

    def connect(self, talks: Iterable[Talk], *, at_once: int = 64, patience_s: float = _PATIENCE_S) -> float:
        """Leads everybody through handshake and talk until all are ready, so many at a time; seconds it took.

        Raises: TimeoutError, RuntimeError.
        """
        return self._go_through((partial(self._open, talk) for talk in talks), at_once, patience_s)

    def meet(self, *, at_once: int = 64) -> float:
        """Lets everybody ask for a partner, so many at a time, until all have one; seconds it took.

        Raises: TimeoutError, RuntimeError.
        """
        return self.ask([client.talk.join for client in self.clients], at_once=at_once)

    def ask(self, requests: Sequence[Callable[[], bytes]], *, at_once: int = 64) -> float:
        """Lets everybody send their request, in the order of `clients`, until all are ready again; seconds it took.

        Raises: TimeoutError, RuntimeError.
        """
        return self._go_through(
            (partial(self._send, *each) for each in zip(self.clients, requests, strict=True)),
            at_once,
            _PATIENCE_S,
        )

    def pair_up(self) -> None:
        """Makes partners of those who share a call."""
        seen: dict[str, Client] = {}
        for client in self._clients.values():
            other = seen.pop(client.talk.pair, None)
            if other is None:
                seen[client.talk.pair] = client
                continue
            client.partner, other.partner = other, client
            self._leaders.append(client if client.talk.leads else other)
        if seen:
            raise RuntimeError(f"{len(seen)} clients have no partner")

    def exchange(
        self, kind: str, per_pair: int, usage: Callable[[], Usage], others: Sequence["Swarm"] = ()
    ) -> Relayed:
        """Keeps one message on its way in each pair, to and fro, until each pair has relayed so many.

        Now and then it looks after the others, whose servers want their pings answered.
        """
        self._quiet()
        left = dict.fromkeys((client.sock.fileno() for client in self._leaders), per_pair - 1)
        # Either of the two finds the pair's count by its leader's descriptor.
        owner = {
            c.sock.fileno(): leader.sock.fileno()
            for leader in self._leaders
            for c in (leader, leader.partner)
        }
        goal = per_pair * len(self._leaders)
        clients, poll, now = self._clients, self._epoll.poll, time.perf_counter
        count = polls = empty = 0
        before, began = usage(), now()
        tend_at = began + _TENDING_S
        for leader in self._leaders:
            leader.sock.send(frame(leader.talk.say(kind)))
        while count < goal:
            events = poll(0, 256)
            polls += 1
            if now() > tend_at:
                _tend(others)
                tend_at = now() + _TENDING_S
            if not events:
                empty += 1
                if now() - began > _PATIENCE_S:
                    raise TimeoutError(f"{goal - count} messages were not delivered")
            for descriptor, _ in events:
                client = clients[descriptor]
                talk = client.talk
                for message in client.messages(client.sock.recv(_READ)):
                    if talk.delivered(message):
                        count += 1
                        if left[owner[descriptor]]:
                            left[owner[descriptor]] -= 1
                            client.sock.send(frame(talk.say(kind)))
                    elif (answer := talk.aside(message)) is not None:
                        client.sock.send(frame(answer))
        ended, after = now(), usage()
        self._quiet()
        return _relayed(count, ended - began, before, after, empty / polls)

    def pace(self, kind: str, per_second: int, count: int, usage: Callable[[], Usage]) -> Relayed:
        """Sends at a steady rate, the pairs by turns; how long each message took to its reader."""
        self._quiet()
        speakers = [*self._leaders, *(leader.partner for leader in self._leaders)]
        clients, poll, now = self._clients, self._epoll.poll, time.perf_counter
        latencies: list[float] = []
        sent = polls = empty = 0
        before, began = usage(), now()
        while len(latencies) < count:
            due = min(count, int((now() - began) * per_second))
            while sent < due:
                speaker = speakers[sent % len(speakers)]
                speaker.partner.sent_at.append(now())
                speaker.sock.send(frame(speaker.talk.say(kind)))
                sent += 1
            events = poll(0, 256)
            polls += 1
            if not events:
                empty += 1
                if now() - began > count / per_second + _PATIENCE_S:
                    raise TimeoutError(f"{count - len(latencies)} messages were not delivered")
            for descriptor, _ in events:
                client = clients[descriptor]
                for message in client.messages(client.sock.recv(_READ)):
                    if client.talk.delivered(message):
                        latencies.append((now() - client.sent_at.popleft()) * 1000)
                    elif (answer := client.talk.aside(message)) is not None:
                        client.sock.send(frame(answer))
        ended, after = now(), usage()
        self._quiet()
        return _relayed(count, ended - began, before, after, empty / polls, latencies)

    def follow(
        self, schedule: Iterable[tuple[float, Client, bytes]], heard: Callable[[Client, bytes, float], None]
    ) -> Iterator[None]:
        """Sends each message at its moment, seconds from now, and hands on all that comes, with the time it came.

        Yields whenever it has nothing to do for the moment, also after the last message has been sent: whoever
        iterates decides when it is enough. It sleeps between, since here servers share the clients' core.
        """
        ahead = deque(schedule)
        began = time.perf_counter()
        while True:
            now = time.perf_counter() - began
            while ahead and ahead[0][0] <= now:
                _, client, payload = ahead.popleft()
                client.sent_at.append(time.perf_counter())
                client.sock.send(frame(payload))
                now = time.perf_counter() - began
            pause = min(0.05, ahead[0][0] - now) if ahead else 0.05
            for descriptor, _ in self._epoll.poll(max(0.0, pause)):
                client = self._clients[descriptor]
                messages = client.messages(client.sock.recv(_READ))
                now = time.perf_counter()
                for message in messages:
                    heard(client, message, now)
            yield

    @property
    def clients(self) -> list[Client]:
        """All, in the order in which they connected."""
        return list(self._clients.values())

    def leave(self) -> None:
        """Closes every socket as an app does that is closed: with 1000, which ends its session."""
        for client in self._clients.values():
            client.sock.send(_CLOSE)
        left = set(self._clients)
        until = time.monotonic() + _PATIENCE_S
        while left and time.monotonic() < until:
            for descriptor, events in self._epoll.poll(1.0):
                if events & select.EPOLLHUP or not self._clients[descriptor].sock.recv(_READ):
                    self._epoll.unregister(descriptor)
                    left.discard(descriptor)
        self.close()

    def close(self) -> None:
        """Cuts all off. A reset leaves no port behind in TIME_WAIT."""
        for client in self._clients.values():
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.sock.close()
        self._clients.clear()
        self._leaders.clear()

    def _go_through(self, beginnings: Iterator[Callable[[], int]], at_once: int, patience_s: float) -> float:
        """Begins with one after the other, so many at a time, and leads each until it is ready; seconds it took."""
        began = time.monotonic()
        busy: set[int] = set()
        more = True
        while more or busy:
            while more and len(busy) < at_once:
                begin = next(beginnings, None)
                if begin is None:
                    more = False
                else:
                    busy.add(begin())
            # Here it may sleep: on its core the servers' own servers work too.
            for descriptor, _ in self._epoll.poll(1.0):
                if self._lead(self._clients[descriptor]):
                    busy.discard(descriptor)
            if time.monotonic() - began > patience_s + len(self._clients) / 100:
                raise TimeoutError(f"{len(busy)} clients are not ready")
        return time.monotonic() - began

    def _send(self, client: Client, request: Callable[[], bytes]) -> int:
        client.sock.send(frame(request()))
        return client.sock.fileno()

    def _open(self, talk: Talk) -> int:
        sock = socket.create_connection(("127.0.0.1", next(self._ports)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[sock.fileno()] = Client(sock, talk)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        sock.send(self._handshake)
        return sock.fileno()

    def _lead(self, client: Client) -> bool:
        """Reads and answers; whether the client is ready now."""
        data = client.sock.recv(_READ)
        if not data:
            raise ConnectionError("the server has hung up")
        if not client.answered:
            head, _, data = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(f"the handshake was answered by {head[:200]!r}")
            client.answered = True
            opening = client.talk.opening()
            if opening is not None:
                client.sock.send(frame(opening))
        for message in client.messages(data):
            for answer in client.talk.heard(message):
                client.sock.send(frame(answer))
        return client.talk.is_ready

    def _quiet(self) -> None:
        """Reads what is still on its way, and answers pings."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.05:
            if self.attend(0.02):
                quiet_since = time.monotonic()

    def attend(self, patience_s: float = 0.0) -> bool:
        """Reads what has come while nobody looked, and answers pings; whether there was anything."""
        events = self._epoll.poll(patience_s)
        for descriptor, _ in events:
            client = self._clients[descriptor]
            for message in client.messages(client.sock.recv(_READ)):
                for answer in client.talk.heard(message):
                    client.sock.send(frame(answer))
        return bool(events)


def _tend(swarms: Sequence[Swarm]) -> None:
    for swarm in swarms:
        swarm.attend()


def _relayed(
    count: int,
    seconds: float,
    before: Usage,
    after: Usage,
    idle_share: float,
    latencies_ms: Sequence[float] = (),
) -> Relayed:
    cpu_s, waited_s = after.cpu_s - before.cpu_s, after.waited_s - before.waited_s
    return Relayed(count, seconds, cpu_s, waited_s, idle_share, latencies_ms)
