"""The edge and two client libraries that others wrote: websockets and aiohttp."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from signaling.connection import ConnectionSettings
from signaling.handshake import JSON, MSGPACK, UpgradeSettings
from tests.integration.edge.edge_server import PATIENCE_S, Edge, running_edge

SUBPROTOCOL = {False: Subprotocol(JSON), True: Subprotocol(MSGPACK)}


def dial(edge: Edge, *, binary: bool = False) -> connect:
    """A client of the websockets library, as it comes."""
    return connect(edge.url, subprotocols=[SUBPROTOCOL[binary]], max_size=None, ping_interval=None)


async def closing(client: ClientConnection) -> tuple[int, str]:
    """How the server ends this connection."""
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(client.recv(), PATIENCE_S)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.mark.parametrize("size", [0, 1, 125, 126, 235, 3000, 16_384, 65_535, 65_536])
@pytest.mark.parametrize("binary", [False, True])
async def test_messages_come_and_go_with_websockets(edge: Edge, binary: bool, size: int) -> None:
    """Text on JSON and bytes on msgpack, of every form of length, there and back."""
    message = os.urandom(size) if binary else "x" * size
    async with dial(edge, binary=binary) as client:
        assert client.subprotocol == SUBPROTOCOL[binary]
        await client.send(message)
        assert await client.recv() == message

    listener = await edge.listener()

    assert [kind for _, kind in listener.messages] == [binary]
    assert await listener.end() == (1000, True)


async def test_fragments_of_websockets_make_one_message(edge: Edge) -> None:
    """A message sent in pieces, one of which cuts a character, comes back whole."""
    async with dial(edge, binary=True) as client:
        await client.send([b"one ", b"", b"two ", b"three"])
        assert await client.recv() == b"one two three"
    async with dial(edge) as client:
        await client.send([b"gr\xc3", b"\xbc\xc3", b"\x9f"], text=True)
        assert await client.recv() == "grüß"


async def test_pings_are_answered_and_count_as_traffic(edge: Edge) -> None:
    """The pong carries what the ping did, also between two fragments; an unasked pong is welcome."""
    async with dial(edge) as client:
        await asyncio.wait_for(await client.ping(b"are you there"), PATIENCE_S)
        await client.pong(b"nobody asked")

        async def in_pieces() -> AsyncIterator[str]:
            yield "left "
            await asyncio.wait_for(await client.ping(), PATIENCE_S)
            yield "right"

        await client.send(in_pieces())
        assert await client.recv() == "left right"
        listener = await edge.listener()

        assert listener.traffic == 3


async def test_a_client_that_closes_gets_its_own_code_back(edge: Edge) -> None:
    """The closing handshake the client began; its code is told, so that 1000 can end a session."""
    client = await dial(edge)
    await client.close(4321, "enough")
    listener = await edge.listener()

    assert await listener.end() == (4321, True)
    assert client.close_code == 4321
    assert not listener.connection.is_open


async def test_a_client_may_close_without_a_code(edge: Edge) -> None:
    """1005 is told, and the answer is as empty as the question."""
    async with aiohttp.ClientSession() as session:
        client = await session.ws_connect(edge.url, protocols=[JSON], autoclose=False)
        await client._writer.send_frame(b"", aiohttp.WSMsgType.CLOSE)  # its close() always sends a code
        reply = await client.receive(PATIENCE_S)
        listener = await edge.listener()

        assert reply.type is aiohttp.WSMsgType.CLOSE
        assert await listener.end() == (1005, True)


async def test_the_server_closes_with_code_and_reason(edge: Edge) -> None:
    """The closing handshake we begin, with every client's answer."""
    client = await dial(edge)
    listener = await edge.listener()
    listener.connection.close(4501, "superseded")

    assert await closing(client) == (4501, "superseded")
    assert await listener.end() == (4501, True)


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_messages_come_and_go_with_aiohttp(edge: Edge, subprotocol: str) -> None:
    """The other common client: messages, ping and pong, closing from both sides."""
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(edge.url, protocols=[subprotocol], autoping=False) as client:
            assert client.protocol == subprotocol
            await (
                client.send_bytes(b"\x00\xff" * 1500)
                if subprotocol == MSGPACK
                else client.send_str("x" * 3000)
            )
            message = await client.receive(PATIENCE_S)
            assert len(message.data) == 3000
            await client.ping(b"hello")
            pong = await client.receive(PATIENCE_S)
            assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"hello")
        assert await (await edge.listener(0)).end() == (1000, True)

        async with session.ws_connect(edge.url, protocols=[subprotocol]) as client:
            listener = await edge.listener(1)
            listener.connection.close(4001, "drain")
            message = await client.receive(PATIENCE_S)
            assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "drain")
        assert await listener.end() == (4001, True)


async def test_compression_is_not_agreed_to(edge: Edge) -> None:
    """Both libraries offer or can offer it; the answer has no extension, and messages pass."""
    async with connect(edge.url, subprotocols=[SUBPROTOCOL[False]], compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        await client.send("plain")
        assert await client.recv() == "plain"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(edge.url, protocols=[JSON], compress=15) as other,
    ):
        assert other.compress == 0
        await other.send_str("plain")
        assert (await other.receive(PATIENCE_S)).data == "plain"


@pytest.mark.parametrize("binary", [False, True])
async def test_a_message_over_the_limit_closes_with_1009(edge: Edge, binary: bool) -> None:
    """64 kB is the most; one byte more is too much. The client hears why, though it was still sending."""
    async with dial(edge, binary=binary) as client:
        await client.send(bytes(65_537) if binary else "x" * 65_537)

        assert (await closing(client))[0] == 1009
    async with dial(edge, binary=binary) as client:
        await client.send(bytes(2_000_000) if binary else "x" * 2_000_000)

        assert (await closing(client))[0] == 1009
    assert await (await edge.listener(1)).end() == (1009, False)


async def test_the_limit_is_4_kb_until_the_session_raises_it() -> None:
    """What an unauthenticated client may make us hold is small."""
    settings = UpgradeSettings(connection=ConnectionSettings())
    async with running_edge(settings=settings) as edge:
        async with dial(edge) as client:
            await client.send("x" * 4096)
            assert len(await client.recv()) == 4096
            await client.send("x" * 4097)
            assert (await closing(client))[0] == 1009
        async with dial(edge) as client:
            (await edge.listener(1)).connection.set_message_limit(65_536)
            await client.send("x" * 65_536)
            assert len(await client.recv()) == 65_536


async def test_many_messages_in_flight_stay_in_order(edge: Edge) -> None:
    """Two thousand messages of mixed sizes, sent without waiting, come back in order."""
    sent = [f"{number}:" + "x" * (number * 37 % 900) for number in range(2000)]
    async with dial(edge) as client:

        async def send_all() -> None:
            for message in sent:
                await client.send(message)

        sending = asyncio.create_task(send_all())
        received = [await client.recv() for _ in sent]
        await sending

    assert received == sent


async def test_all_of_it_works_over_tls(tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A TLS transport is handed over as well: messages of all sizes, and the closing handshakes."""
    server, trusting = tls_contexts
    async with running_edge(tls=server) as edge:
        async with connect(
            edge.url, subprotocols=[SUBPROTOCOL[False]], ssl=trusting, max_size=None
        ) as client:
            for size in (0, 235, 3000, 65_536):
                await client.send("x" * size)
                assert await client.recv() == "x" * size
            await asyncio.wait_for(await client.ping(), PATIENCE_S)
        assert await (await edge.listener(0)).end() == (1000, True)

        client = await connect(edge.url, subprotocols=[SUBPROTOCOL[False]], ssl=trusting)
        (await edge.listener(1)).connection.close(4503, "banned")
        assert await closing(client) == (4503, "banned")

        client = await connect(edge.url, subprotocols=[SUBPROTOCOL[False]], ssl=trusting)
        await client.send("x" * 70_000)
        assert (await closing(client))[0] == 1009
        await (await edge.listener(2)).end()
