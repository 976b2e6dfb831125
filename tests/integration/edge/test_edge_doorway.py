"""The door: who comes with a handshake goes straight in, and everybody else meets aiohttp as if there were no door."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from signaling.doorway import Door, Porch
from signaling.handshake import UpgradeSettings
from signaling.upgrade import Admission, Entrance
from tests.fixtures.waiting import until
from tests.integration.edge import ways
from tests.integration.edge.edge_server import (
    PATIENCE_S,
    Edge,
    RawClient,
    Recorder,
    always,
    handshake,
    running_edge,
)
from tests.unit.signaling.frames.client_frames import TEXT, frame


@pytest.fixture(params=["door"])
def way_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Only this way is looked at here."""
    monkeypatch.setattr(ways, "through_the_door", True)
    return str(request.param)


async def status_of(client: RawClient, request: bytes) -> int:
    client.send(request)
    status, head = await client.response()
    length = next(
        (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
    )
    await client.reader.readexactly(length)
    return status


async def test_a_whole_handshake_needs_nothing_of_aiohttps_server(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No handler is made for it, nor is a refusal its business; both are told to whoever counts answers."""

    def nobody(*_: object, **__: object) -> RequestHandler:
        raise AssertionError("a handler was made")

    monkeypatch.setattr(web.Server, "__call__", nobody)
    client = await RawClient.connect(edge, first=frame(TEXT, b"hello"))
    refused = await RawClient.dial(edge)

    assert await client.frame() == (0x81, b"hello")
    assert await status_of(refused, handshake(edge.port, Origin="https://evil.example")) == 403
    assert await refused.rest() == b""
    assert edge.answers == [101, 403]
    await client.hang_up()
    refused.writer.close()


async def test_a_connection_that_served_requests_may_become_a_websocket(edge: Edge) -> None:
    """A proxy keeps its connections and sends a handshake over one that has carried others' requests."""
    client = await RawClient.dial(edge)
    request = b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n"

    assert [await status_of(client, request) for _ in range(2)] == [404, 404]
    assert await status_of(client, handshake(edge.port)) == 101
    client.send(frame(TEXT, b"hello"))
    assert await client.frame() == (0x81, b"hello")
    assert edge.answers == []
    await client.hang_up()


@pytest.mark.parametrize("pieces", [(1,), (10,), (60,), (3, 30, 80)])
async def test_a_handshake_in_pieces_is_let_in(edge: Edge, pieces: tuple[int, ...]) -> None:
    """Wherever the packets are cut; by aiohttp, which waits for the rest."""
    client = await RawClient.dial(edge)
    request = handshake(edge.port)
    for begin, end in zip((0, *pieces), (*pieces, None), strict=True):
        client.send(request[begin:end])
        await asyncio.sleep(0.02)

    assert (await client.response())[0] == 101
    client.send(frame(TEXT, b"hello"))
    assert await client.frame() == (0x81, b"hello")
    await client.hang_up()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake(X_Long="x" * 9_000), 400),
        (handshake().replace(b"\r\n\r\n", b"\r\n" + b"X-Many: x\r\n" * 200 + b"\r\n"), 400),
        (handshake(Content_Length="3") + b"abc", 400),
        (handshake(Transfer_Encoding="chunked") + b"0\r\n\r\n", 400),
        (handshake(Upgrade=None), 400),
        (handshake(Upgrade="h2c"), 400),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (handshake().replace(b"HTTP/1.1", b"HTTP/9.9"), 400),
        (handshake().replace(b"Host: ", b"Ho st: "), 400),
        (handshake().replace(b"GET ", b"POST "), 405),
        (handshake().replace(b"/v1/ws", b"/v1/ws/x"), 404),
        (handshake().replace(b"/v1/ws", b"/v1/ws?a=b"), 101),
        (handshake().replace(b"\r\n", b"\n"), 400),
    ],
)
async def test_the_door_refuses_and_lets_in_as_aiohttp_does(
    request_: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request by either way has the same status: the limits of lines and headers are the same parser's."""
    statuses = []
    for through_the_door in (True, False):
        monkeypatch.setattr(ways, "through_the_door", through_the_door)
        async with running_edge() as edge:
            client = await RawClient.dial(edge)
            statuses.append(await status_of(client, request_))
            await client.hang_up()

    assert statuses == [status, status]


async def porch(silence_s: float) -> tuple[Porch, asyncio.Server, web.ServerRunner]:
    runner = web.ServerRunner(web.Server(_plain), keepalive_timeout=PATIENCE_S)
    await runner.setup()
    assert runner.server is not None
    entrance = Entrance(UpgradeSettings(), Recorder, lambda peer, _headers: peer, Admission(always, always))
    made = Porch(Door("/v1/ws", entrance, always), runner.server, silence_s=silence_s)
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    return made, server, runner


async def _plain(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="plain")


async def test_who_says_nothing_is_sent_away() -> None:
    """After a while, each at their own time; who has said something stays."""
    # Who does talk has so long for the first word, on whatever machine.
    made, server, runner = await porch(silence_s=1.5)
    address = server.sockets[0].getsockname()
    silent = [await asyncio.open_connection(*address)]
    await asyncio.sleep(0.5)
    silent.append(await asyncio.open_connection(*address))
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://127.0.0.1:{address[1]}/v1/ws", protocols=("minuet.v1.json",)) as talks,
    ):
        assert [await asyncio.wait_for(reader.read(), PATIENCE_S) for reader, _ in silent] == [b"", b""]
        await talks.send_str("still here")
        assert await talks.receive_str() == "still here"
    for _, writer in silent:
        writer.close()
    server.close()
    made.close()
    await runner.cleanup()


async def test_at_the_end_nobody_is_left_on_the_porch() -> None:
    """Sockets that have said nothing do not keep a process from stopping."""
    made, server, runner = await porch(silence_s=PATIENCE_S)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    await until(lambda: made._silent)
    server.close()
    made.close()

    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    await runner.cleanup()
