"""Clients that break the protocol, byte by byte: each gets its close code, and nobody else notices."""

import asyncio

import pytest

from tests.integration.edge.edge_server import Edge, RawClient, running_edge
from tests.unit.signaling.frames.client_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    close_payload,
    fragments,
    frame,
    header,
)

HOSTILE = [
    pytest.param(header(TEXT, 5, masked=False) + b"hello", 1002, id="unmasked"),
    pytest.param(frame(TEXT, b"hello", rsv=0b100), 1002, id="RSV1"),
    pytest.param(frame(TEXT, b"hello", rsv=0b011), 1002, id="RSV2 and RSV3"),
    pytest.param(frame(0x3, b"hello"), 1002, id="reserved opcode"),
    pytest.param(frame(0xF, b"hello"), 1002, id="reserved control opcode"),
    pytest.param(frame(PING, b"x" * 126), 1002, id="ping too long"),
    pytest.param(frame(PING, b"x", fin=False), 1002, id="ping in fragments"),
    pytest.param(frame(CONTINUATION, b"x"), 1002, id="continuation of nothing"),
    pytest.param(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002, id="message inside a message"),
    pytest.param(header(TEXT, 2**63 - 1), 1009, id="8 exbibytes announced"),
    pytest.param(header(TEXT, 2**64 - 1), 1002, id="a negative length"),
    pytest.param(header(TEXT, 2**32), 1009, id="4 gibibytes announced"),
    pytest.param(header(TEXT, 65_537), 1009, id="one byte over the limit announced"),
    pytest.param(fragments(BINARY, bytes(65_000), bytes(537)), 1009, id="over the limit in fragments"),
    pytest.param(
        frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 2000, 1008, id="endless"
    ),
    pytest.param(frame(TEXT, b"\xff\xfe"), 1007, id="not UTF-8"),
    pytest.param(fragments(TEXT, b"gr\xc3", b"\xff\xc3", b"\x9f"), 1007, id="not UTF-8 across fragments"),
    pytest.param(frame(CLOSE, close_payload(1006)), 1002, id="close code that may not be sent"),
    pytest.param(frame(CLOSE, close_payload(70)), 1002, id="close code out of range"),
    pytest.param(frame(CLOSE, b"\x03"), 1002, id="half a close code"),
    pytest.param(frame(CLOSE, close_payload(1000, b"\xff")), 1007, id="close reason not UTF-8"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002, id="HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 1002, id="TLS"),
]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("data", "code"), HOSTILE)
async def test_a_hostile_client_gets_its_close_code(
    edge: Edge, data: bytes, code: int, at_once: bool
) -> None:
    """The close frame arrives, then the end; the listener hears of it once; another client is not disturbed."""
    neighbour = await RawClient.connect(edge)
    client = await RawClient.connect(edge)
    client.send(frame(TEXT, b"before"))
    assert await client.frame() == (0x81, b"before")
    if at_once:
        client.send(data)
    else:
        for i in range(min(len(data), 200)):
            client.send(data[i : i + 1])
            await asyncio.sleep(0)
        client.send(data[200:])

    assert (await client.close_frame())[0] == code
    assert await client.rest() == b""
    client.writer.close()
    listener = await edge.listener(1)
    assert await listener.end() == (code, False)
    assert listener.messages == [(b"before", False)]
    neighbour.send(frame(TEXT, b"still here"))
    assert await neighbour.frame() == (0x81, b"still here")


async def test_what_follows_a_breach_is_thrown_away(hasty_edge: Edge) -> None:
    """A client that goes on sending after its breach is read no more, and cut off in time."""
    client = await RawClient.connect(hasty_edge)
    client.send(frame(TEXT, b"\xff") + frame(TEXT, b"late"))
    assert (await client.close_frame())[0] == 1007

    with pytest.raises(ConnectionError):
        await client.send_until_reset(frame(TEXT, b"later" * 1000))
    assert (await hasty_edge.listener()).messages == []


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x81", id="one byte"),
        pytest.param(header(TEXT, 300), id="a header without its mask"),
        pytest.param(frame(TEXT, b"x" * 3000)[:-1], id="all but the last byte"),
        pytest.param(frame(TEXT, b"x" * 30, fin=False), id="a first fragment"),
    ],
)
@pytest.mark.parametrize("politely", [True, False], ids=["FIN", "RST"])
async def test_a_client_may_vanish_in_the_middle(edge: Edge, half: bytes, politely: bool) -> None:
    """1006 is told, once; half a message is no message."""
    client = await RawClient.connect(edge)
    client.send(half)
    await asyncio.sleep(0.02)
    if politely:
        client.writer.write_eof()
        await client.rest()
    else:
        await client.hang_up()
    listener = await edge.listener()

    assert await listener.end() == (1006, False)
    assert listener.messages == []


async def test_a_client_that_pings_and_does_not_read_gets_no_more_pongs() -> None:
    """Pongs would pile up without bound; above the high-water mark they are left out, and the listener is told."""
    async with running_edge() as edge:
        client = await RawClient.connect(edge)
        listener = await edge.listener()
        client.transport.pause_reading()
        flood = frame(PING, b"x" * 125) * 500
        async with asyncio.timeout(30):
            while "paused" not in listener.writing or listener.traffic < 100_000:
                client.send(flood)
                await client.writer.drain()

        assert listener.connection.unsent_bytes < 64 * 1024 + 2 * 127
        client.transport.resume_reading()
        async with asyncio.timeout(30):
            while "resumed" not in listener.writing:
                await client.frame()
        assert listener.connection.is_open
