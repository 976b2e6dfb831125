"""What a listener is told, when, and how often; and what its connection does for it."""

import asyncio
import logging
import ssl

import pytest

from signaling.connection import MAX_LATE_FRAMES
from signaling.frames import encode_binary, encode_text
from signaling.handshake import MSGPACK
from tests.fixtures.waiting import until
from tests.integration.edge.edge_server import (
    CLOSE_TIMEOUT_S,
    Edge,
    RawClient,
    Recorder,
    handshake,
    running_edge,
)
from tests.unit.signaling.frames.client_frames import BINARY, CLOSE, PING, TEXT, close_payload, frame


class Troublesome(Recorder):
    """Does what the message says, at once, in the middle of a read."""

    def message_received(self, payload: bytes, binary: bool) -> None:
        super().message_received(payload, binary)
        match payload:
            case b"raise":
                raise RuntimeError("a bug in the session")
            case b"close":
                self.connection.close(4500, "as you wish")
            case b"close twice":
                self.connection.close(4007, "first")
                self.connection.close(4500, "second")
            case b"abort":
                self.connection.abort()

    def traffic_seen(self) -> None:
        super().traffic_seen()
        raise RuntimeError("a bug in the heartbeat")


async def test_sending_makes_the_frames_of_the_subprotocol(edge: Edge) -> None:
    """One message, many in one write, and a frame that was made before for everybody."""
    text = await RawClient.connect(edge)
    connection = (await edge.listener(0)).connection
    connection.send(b"one")
    connection.send_many([b"two", b"x" * 3000, b"three"])
    connection.send_frame(encode_text(b"four") + encode_text(b"five"))
    for payload in (b"one", b"two", b"x" * 3000, b"three", b"four", b"five"):
        assert await text.frame() == (0x81, payload)

    packed = await RawClient.dial(edge)
    packed.send(handshake(Sec_WebSocket_Protocol=MSGPACK))
    assert (await packed.response())[0] == 101
    connection = (await edge.listener(1)).connection
    connection.send(b"\x00")
    connection.send_many([b"\x01", b"\x02"])
    connection.send_frame(encode_binary(b"\x03"))
    for number in range(4):
        assert await packed.frame() == (0x82, bytes([number]))
    for client in (text, packed):
        await client.hang_up()


async def test_the_listener_hears_which_kind_a_message_was(edge: Edge) -> None:
    """Text on msgpack and bytes on JSON are well-formed WebSocket; whether they are welcome is the session's."""
    client = await RawClient.connect(edge)
    client.send(frame(TEXT, b"text") + frame(BINARY, b"\xff"))
    await client.frame()
    await client.frame()

    assert (await edge.listener()).messages == [(b"text", False), (b"\xff", True)]
    await client.hang_up()


async def test_after_closing_nothing_comes_and_nothing_goes(edge: Edge) -> None:
    """In the same packet or later: messages are dropped, pings not answered, and the second close says nothing."""
    async with running_edge(Troublesome) as edge:
        client = await RawClient.connect(edge)
        client.send(frame(TEXT, b"close twice") + frame(TEXT, b"late") + frame(PING, b"late"))
        assert await client.frame() == (0x81, b"close twice")
        assert await client.close_frame() == (4007, "first")
        listener = await edge.listener()
        assert not listener.connection.is_open
        listener.connection.send(b"dropped")
        listener.connection.send_many([b"dropped"])
        listener.connection.send_frame(encode_text(b"dropped"))
        client.send(frame(TEXT, b"later") + frame(PING) + frame(CLOSE, close_payload(4007)))

        assert await client.rest() == b""
        assert await listener.end() == (4007, True)
        assert [payload for payload, _ in listener.messages] == [b"close twice"]
        assert listener.traffic == 0
        client.writer.close()


async def test_a_close_frame_cut_by_our_own_close_is_still_understood() -> None:
    """Half of the client's close frame came with the message on which the session closed."""
    async with running_edge(Troublesome) as edge:
        client = await RawClient.connect(edge)
        reply = frame(CLOSE, close_payload(1000, b"bye"))
        client.send(frame(TEXT, b"close") + reply[:4])
        await client.frame()
        await client.close_frame()
        client.send(reply[4:])

        assert await client.rest() == b""
        assert await (await edge.listener()).end() == (4500, True)
        client.writer.close()


@pytest.mark.parametrize("over_tls", [False, True], ids=["tcp", "tls"])
async def test_a_client_that_does_not_answer_our_close_is_cut_off(
    over_tls: bool, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """After the bound, not before; the listener hears our code, and that it was not clean."""
    server, trusting = tls_contexts if over_tls else (None, None)
    loop = asyncio.get_running_loop()
    async with running_edge(tls=server, close_timeout_s=CLOSE_TIMEOUT_S) as edge:
        client = await RawClient.connect(edge, trusting)
        listener = await edge.listener()
        began = loop.time()
        listener.connection.close(4002, "no pong")
        assert await client.close_frame() == (4002, "no pong")
        assert await listener.end() == (4002, False)

        assert CLOSE_TIMEOUT_S * 0.9 < loop.time() - began < CLOSE_TIMEOUT_S + 5.0
        await client.hang_up()


async def test_a_client_that_never_reads_is_cut_off_too(hasty_edge: Edge) -> None:
    """With a full buffer the close frame cannot even leave; memory is given back within the bound."""
    client = await RawClient.connect(hasty_edge)
    client.transport.pause_reading()
    listener = await hasty_edge.listener()
    connection = listener.connection
    while connection.unsent_bytes < 256 * 1024:
        connection.send(b"x" * 60_000)
        await asyncio.sleep(0)
    connection.close(4003, "too slow")

    assert await listener.end() == (4003, False)
    assert connection.unsent_bytes == 0
    await client.hang_up()


async def test_a_client_that_closes_without_reading_is_let_go_of(hasty_edge: Edge) -> None:
    """Its close is told at once; the socket with what is unsent goes within the bound."""
    client = await RawClient.connect(hasty_edge)
    client.transport.pause_reading()
    listener = await hasty_edge.listener()
    connection = listener.connection
    while connection.unsent_bytes < 256 * 1024:
        connection.send(b"x" * 60_000)
        await asyncio.sleep(0)
    client.send(frame(CLOSE, close_payload(1001)))

    assert await listener.end() == (1001, True)
    await until(lambda: connection.unsent_bytes == 0)
    await client.hang_up()


async def test_a_client_that_ends_its_side_without_reading_is_let_go_of(hasty_edge: Edge) -> None:
    """Half-closed and deaf, it would keep what is unsent in our memory for as long as it likes."""
    client = await RawClient.connect(hasty_edge)
    client.transport.pause_reading()
    listener = await hasty_edge.listener()
    connection = listener.connection
    while connection.unsent_bytes < 256 * 1024:
        connection.send(b"x" * 60_000)
        await asyncio.sleep(0)
    client.writer.write_eof()

    assert await listener.end() == (1006, False)
    assert not connection.is_open
    await until(lambda: connection.unsent_bytes == 0)
    await client.hang_up()


async def test_a_flood_after_our_close_is_not_parsed_to_its_end(edge: Edge) -> None:
    """Some late frames are usual; a thousand are not: the connection ends without waiting for an answer."""
    client = await RawClient.connect(edge)
    listener = await edge.listener()
    listener.connection.close(4007, "rate")
    assert await client.close_frame() == (4007, "rate")
    client.send(frame(TEXT) * MAX_LATE_FRAMES + frame(CLOSE, close_payload(1000)))
    assert await client.rest() == b""
    assert await listener.end() == (4007, True)

    client = await RawClient.connect(edge)
    listener = await edge.listener(1)
    listener.connection.close(4007, "rate")
    assert await client.close_frame() == (4007, "rate")
    client.send((frame(TEXT) + frame(PING)) * MAX_LATE_FRAMES + frame(CLOSE, close_payload(1000)))
    assert await client.rest() == b""
    assert await listener.end() == (4007, False)
    assert (listener.messages, listener.traffic) == ([], 0)
    await client.hang_up()


async def test_a_client_that_vanishes_after_our_close_is_not_waited_for(edge: Edge) -> None:
    """The lost socket ends it: our code, not clean, and no timer is left behind."""
    client = await RawClient.connect(edge)
    listener = await edge.listener()
    listener.connection.close(4001)
    await client.close_frame()
    await client.hang_up()

    assert await listener.end() == (4001, False)
    assert listener.connection._timer is None


async def test_aborting_is_immediate(edge: Edge) -> None:
    """No close frame; 1006; a second time, and after the end, it does nothing."""
    client = await RawClient.connect(edge)
    listener = await edge.listener()
    listener.connection.abort()
    listener.connection.abort()

    assert await listener.end() == (1006, False)
    with pytest.raises(ConnectionError):
        await client.send_until_reset(frame(TEXT, b"x"))
    listener.connection.abort()
    listener.connection.close(4001)


async def test_aborting_in_the_middle_of_a_read_drops_the_rest() -> None:
    """The messages behind it in the same packet are not delivered."""
    async with running_edge(Troublesome) as edge:
        client = await RawClient.connect(edge)
        client.send(frame(TEXT, b"abort") + frame(TEXT, b"late"))
        listener = await edge.listener()

        assert await listener.end() == (1006, False)
        assert [payload for payload, _ in listener.messages] == [b"abort"]
        await client.hang_up()


@pytest.mark.parametrize("trouble", [frame(TEXT, b"raise"), frame(PING)], ids=["on a message", "on a ping"])
async def test_a_listener_that_raises_closes_only_its_own_connection(
    trouble: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """4000 for this client, a traceback in the log; what came behind is dropped; the neighbour goes on."""
    async with running_edge(Troublesome) as edge:
        neighbour = await RawClient.connect(edge)
        client = await RawClient.connect(edge)
        client.send(frame(TEXT, b"fine"))
        assert await client.frame() == (0x81, b"fine")
        client.send(trouble + frame(TEXT, b"late"))
        first, payload = await client.frame()
        if (first, payload) == (0x81, b"raise"):
            first, payload = await client.frame()
        assert (first, payload) == (0x88, close_payload(4000, b"internal"))
        client.send(frame(CLOSE, close_payload(4000)))
        assert await client.rest() == b""
        client.writer.close()

        assert await (await edge.listener(1)).end() == (4000, True)
        assert (b"late", False) not in (await edge.listener(1)).messages
        neighbour.send(frame(TEXT, b"good"))
        assert await neighbour.frame() == (0x81, b"good")
        await neighbour.hang_up()
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert "a bug in the" in caplog.text


async def test_a_listener_that_raises_when_told_of_the_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The socket is gone anyway; the loop goes on."""

    class BadLoser(Recorder):
        def connection_closed(self, code: int, clean: bool) -> None:
            super().connection_closed(code, clean)
            raise RuntimeError("cannot let go")

    async with running_edge(BadLoser) as edge:
        client = await RawClient.connect(edge)
        listener = await edge.listener()
        await client.hang_up()

        assert await listener.end() == (1006, False)
    assert "cannot let go" in caplog.text


async def test_a_slow_reader_pauses_only_itself(edge: Edge) -> None:
    """Above 64 kB unsent the listener hears of it, once; when the client reads again, too; the neighbour is not late."""
    slow = await RawClient.connect(edge)
    slow.transport.pause_reading()
    neighbour = await RawClient.connect(edge)
    listener = await edge.listener()
    connection = listener.connection
    sent = 0
    while not connection.writing_is_paused:
        assert connection.unsent_bytes <= 64 * 1024
        connection.send(b"x" * 16_000)
        sent += 1
        await asyncio.sleep(0)
    assert listener.writing == ["paused"]
    assert connection.unsent_bytes > 64 * 1024
    connection.send(b"x" * 16_000)
    assert listener.writing == ["paused"]
    neighbour.send(frame(TEXT, b"meanwhile"))
    assert await neighbour.frame() == (0x81, b"meanwhile")

    slow.transport.resume_reading()
    for _ in range(sent + 1):
        assert await slow.frame() == (0x81, b"x" * 16_000)
    # What has arrived there may not yet be known to have left here.
    await until(lambda: connection.unsent_bytes == 0)
    assert listener.writing == ["paused", "resumed"]
    assert not connection.writing_is_paused
    assert connection.is_open
    for client in (slow, neighbour):
        await client.hang_up()


async def test_a_listener_may_close_when_writing_pauses() -> None:
    """In the middle of the `send` that crossed the mark."""

    class Impatient(Recorder):
        def writing_paused(self) -> None:
            super().writing_paused()
            self.connection.close(4003, "too slow")

    async with running_edge(Impatient, close_timeout_s=CLOSE_TIMEOUT_S) as edge:
        client = await RawClient.connect(edge)
        client.transport.pause_reading()
        listener = await edge.listener()
        for _ in range(10_000):
            listener.connection.send(b"x" * 16_000)
            await asyncio.sleep(0)
            if not listener.connection.is_open:
                break

        assert listener.writing == ["paused"]
        assert await listener.end() == (4003, False)
        await client.hang_up()
