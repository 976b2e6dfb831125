"""Each fault of the proxy, as it is seen on the wire."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.chaos.proxy import HELD, LOOPBACK
from tests.chaos.proxy_process import LinkHandle, ProxyProcess, Target

SOON_S = 0.3
PATIENCE_S = 60.0


@dataclass
class Peer:
    """A server that keeps what it gets and can say something; one connection at a time is looked at."""

    name: bytes = b""
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(
        default_factory=asyncio.Queue
    )
    server: asyncio.Server | None = None

    async def start(self) -> Target:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self.name)
            await self.arrived.put((reader, writer))

        self.server = await asyncio.start_server(take, LOOPBACK, 0)
        host, port = self.server.sockets[0].getsockname()
        return (host, port)

    async def next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.arrived.get()


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyProcess]:
    async with ProxyProcess() as process:
        yield process


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    yield peer
    if peer.server is not None:
        peer.server.close()


@pytest.fixture
async def link(proxy: ProxyProcess, peer: Peer) -> LinkHandle:
    return await proxy.open("link", [await peer.start()])


async def dial(link: LinkHandle) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*link.address)


async def silent(reader: asyncio.StreamReader) -> bool:
    """Nothing comes, not even an end."""
    try:
        async with asyncio.timeout(SOON_S):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def how_it_ends(reader: asyncio.StreamReader) -> str:
    """`reset` for a RST, `end` for a FIN."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await reader.read(65_536):
                pass
        except ConnectionResetError:
            return "reset"
    return "end"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readexactly(count)


async def test_bytes_and_ends_pass_both_ways(link: LinkHandle, peer: Peer) -> None:
    """A megabyte each way arrives as it was sent, and a half-closed connection still answers."""
    mine, to_peer = await dial(link)
    theirs, to_me = await peer.next()
    there, back = bytes(range(256)) * 4096, bytes(reversed(range(256))) * 4096

    to_peer.write(there)
    to_peer.write_eof()
    heard = await exactly(theirs, len(there))
    ended = await how_it_ends(theirs)
    to_me.write(back)
    to_me.close()
    answered = await exactly(mine, len(back))

    assert (heard, answered) == (there, back)
    assert ended == await how_it_ends(mine) == "end"
    counters = await link.count()
    assert (counters.moved_up, counters.moved_down) == (len(there), len(back))


async def test_a_stall_moves_nothing_and_breaks_nothing(link: LinkHandle, peer: Peer) -> None:
    """Both sides hear nothing, not even that the other has left, until it is over; then all of it in order."""
    mine, to_peer = await dial(link)
    theirs, to_me = await peer.next()

    await link.stall()
    to_peer.write(b"one")
    to_me.write(b"two")
    await until(lambda: counted(link, stalled_bytes=6))
    to_me.write_eof()
    quiet = [await silent(mine), await silent(theirs)]
    before = await link.count()
    await link.flow()

    assert quiet == [True, True]
    assert (before.moved_up, before.moved_down, before.open) == (0, 0, 1)
    assert await exactly(theirs, 3) == b"one"
    assert await exactly(mine, 3) == b"two"
    assert await how_it_ends(mine) == "end"


async def counted(link: LinkHandle, **least: int) -> bool:
    counters = await link.count()
    return all(getattr(counters, name) >= value for name, value in least.items())


async def test_a_stall_of_one_direction_leaves_the_other(link: LinkHandle, peer: Peer) -> None:
    """Requests get lost on the way while what the server says of itself still comes."""
    mine, to_peer = await dial(link)
    theirs, to_me = await peer.next()

    await link.stall(["up"])
    to_peer.write(b"question")
    to_me.write(b"news")
    heard = await exactly(mine, 4)

    assert heard == b"news"
    assert await silent(theirs)
    await link.flow()
    assert await exactly(theirs, 8) == b"question"


async def test_a_connection_made_in_a_stall_is_open_and_silent(link: LinkHandle, peer: Peer) -> None:
    """As with a router that drops packets behind an open port."""
    await link.stall()
    mine, to_peer = await dial(link)
    to_peer.write(b"hello")

    assert await silent(mine)
    assert peer.arrived.empty()
    await link.flow()
    theirs, _ = await peer.next()
    assert await exactly(theirs, 5) == b"hello"


async def test_a_stall_holds_a_bounded_part(link: LinkHandle, peer: Peer) -> None:
    """Who sends on is slowed down by TCP, and the proxy does not grow."""
    _, to_peer = await dial(link)
    theirs, _ = await peer.next()
    flood = b"x" * (64 * 1024 * 1024)

    await link.stall()
    to_peer.write(flood)
    await until(lambda: counted(link, stalled_bytes=HELD))
    await asyncio.sleep(SOON_S)
    held = (await link.count()).stalled_bytes
    await link.flow()

    assert held <= 2 * HELD
    received = await exactly(theirs, len(flood))
    assert len(received) == len(flood)


async def test_a_reset_is_a_reset_at_both_ends(link: LinkHandle, peer: Peer) -> None:
    """Not a polite end: RST, for all connections at once."""
    ends = []
    for _ in range(20):
        near, far = await dial(link), await peer.next()
        # The target has a connection before the proxy knows that it has it, and could only end it politely.
        near[1].write(b"?")
        await exactly(far[0], 1)
        ends += [near, far]

    count = await link.reset()

    assert count == (await link.count()).reset == 20
    assert {await how_it_ends(reader) for reader, _ in ends} == {"reset"}


async def test_a_cut_comes_in_the_middle_of_what_is_sent(link: LinkHandle, peer: Peer) -> None:
    """So many bytes arrive and not one more; then both ends are reset."""
    mine, to_peer = await dial(link)
    theirs, _ = await peer.next()

    await link.cut(1000)
    to_peer.write(b"y" * 600)
    first = await exactly(theirs, 600)
    to_peer.write(b"y" * 600)
    rest = b""
    with suppress(ConnectionResetError):
        while data := await theirs.read(65_536):
            rest += data

    counters = await link.count()
    assert len(first + rest) <= 1000
    assert counters.moved_up == 1000
    assert counters.cut == 1
    assert await how_it_ends(mine) == "reset"


async def test_refused_connections_are_refused_by_the_system(link: LinkHandle, peer: Peer) -> None:
    """ECONNREFUSED, while open connections go on; and the same port serves again afterwards."""
    mine = await dial(link)
    theirs = await peer.next()

    await link.refuse()
    with socket.socket() as probe:
        refused = probe.connect_ex(link.address)
    theirs[1].write(b"still here")
    heard = await exactly(mine[0], 10)
    await link.accept()
    await dial(link)
    await peer.next()

    assert refused == errno.ECONNREFUSED
    assert heard == b"still here"


async def test_a_delay_makes_bytes_late_and_keeps_their_order(link: LinkHandle, peer: Peer) -> None:
    """Each way costs the delay."""
    _, to_peer = await dial(link)
    theirs, _ = await peer.next()

    await link.delay(0.2)
    began = time.monotonic()
    for n in range(50):
        to_peer.write(bytes([n]))
        await asyncio.sleep(0)
    heard = await exactly(theirs, 50)
    took = time.monotonic() - began

    assert heard == bytes(range(50))
    assert took >= 0.2
    assert (await link.count()).delayed_bytes == 50


async def test_the_balancer_takes_turns_and_passes_over_who_refuses(proxy: ProxyProcess) -> None:
    """Two servers share connections; when one is gone the other gets them all, and nobody notices."""
    one, two = Peer(b"1"), Peer(b"2")
    link = await proxy.open("front", [await one.start(), await two.start()])

    before = [await dial(link) for _ in range(4)]
    first = [await exactly(reader, 1) for reader, _ in before]
    assert one.server is not None
    one.server.close()
    after = [await dial(link) for _ in range(4)]
    then = [await exactly(reader, 1) for reader, _ in after]
    assert two.server is not None
    two.server.close()
    with pytest.raises(ConnectionResetError):
        # In the act of connecting, or at the first look.
        nobody = await dial(link)
        await exactly(nobody[0], 1)

    assert sorted(first) == [b"1", b"1", b"2", b"2"]
    assert then == [b"2"] * 4
    counters = await link.count()
    assert counters.skipped >= 2
    assert counters.unreachable == 1
