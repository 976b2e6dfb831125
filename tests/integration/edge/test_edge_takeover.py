"""Taking a socket away from aiohttp: nothing is lost, nothing stays behind, and nothing is said in the logs."""

import asyncio
import gc
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from signaling import connection, frames
from signaling.connection import Connection
from signaling.upgrade import ConnectionInfo
from tests.fixtures.waiting import until
from tests.integration.edge.edge_server import (
    Edge,
    RawClient,
    Recorder,
    handshake,
    running_edge,
)
from tests.unit.signaling.frames.client_frames import CLOSE, TEXT, close_payload, frame

BOTH = pytest.mark.parametrize("over_tls", [False, True], ids=["tcp", "tls"])
Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def handlers() -> list[RequestHandler]:
    """All of aiohttp's per-connection objects that are alive."""
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is RequestHandler]


def live_objects() -> list[str]:
    """What is alive of all that belongs to a connection."""
    gc.collect()
    # By what they are, not by name: a client of Redis has a `Connection`, too.
    kinds = (Connection, frames.FrameParser, Recorder, RequestHandler, ConnectionInfo)
    return [type(found).__name__ for found in gc.get_objects() if type(found) in kinds]


async def settled(expected: Callable[[], bool]) -> bool:
    """Whether this becomes true soon."""
    with suppress(TimeoutError):
        await until(expected)
        return True
    return False


@BOTH
async def test_frames_sent_with_the_handshake_are_not_lost(over_tls: bool, tls_contexts: Contexts) -> None:
    """A client need not wait for the 101: what came in the same packet as the request is its first message."""
    server, trusting = tls_contexts if over_tls else (None, None)
    async with running_edge(tls=server) as edge:
        early = frame(TEXT, b"one") + frame(TEXT, b"two" * 1000)
        client = await RawClient.connect(edge, trusting, first=early + frame(TEXT, b"three")[:-2])

        assert await client.frame() == (0x81, b"one")
        assert await client.frame() == (0x81, b"two" * 1000)
        listener = await edge.listener()
        assert [payload for payload, _ in listener.messages] == [b"one", b"two" * 1000]
        await client.hang_up()
        assert await listener.end() == (1006, False)


@pytest.mark.parametrize("place", [1, 20, -3, -1])
async def test_frames_are_not_lost_wherever_the_packets_are_cut(edge: Edge, place: int) -> None:
    """The request in two packets, the frames behind it in one with its end."""
    client = await RawClient.dial(edge)
    request = handshake(edge.port)
    client.send(request[:place])
    await asyncio.sleep(0.02)
    client.send(request[place:] + frame(TEXT, b"first") + frame(TEXT, b"second"))

    assert (await client.response())[0] == 101
    assert await client.frame() == (0x81, b"first")
    assert await client.frame() == (0x81, b"second")
    await client.hang_up()


@BOTH
async def test_a_slow_middleware_loses_no_frames(over_tls: bool, tls_contexts: Contexts) -> None:
    """What comes while the request waits, far more than aiohttp buffers, arrives whole and in order."""
    server, trusting = tls_contexts if over_tls else (None, None)
    held = asyncio.Event()

    @web.middleware
    async def slow(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        await held.wait()
        return await handler(request)

    sent = [b"%d:" % number + b"x" * 10_000 for number in range(200)]
    async with running_edge(tls=server, prepare=lambda app: app.middlewares.append(slow)) as edge:
        client = await RawClient.dial(edge, trusting)
        client.send(handshake(edge.port))
        for payload in sent:
            client.send(frame(TEXT, payload))
        await asyncio.sleep(0.2)
        assert edge.listeners == []
        held.set()
        assert (await client.response())[0] == 101
        for payload in sent:
            assert await client.frame() == (0x81, payload)
        await client.hang_up()


async def test_a_client_may_end_at_once(edge: Edge) -> None:
    """Handshake, message and close frame in one packet: all are handled, then the socket is closed."""
    client = await RawClient.connect(
        edge, first=frame(TEXT, b"hi") + frame(CLOSE, close_payload(1000)) + frame(TEXT, b"late")
    )

    assert await client.frame() == (0x81, b"hi")
    assert await client.close_frame() == (1000, "")
    assert await client.rest() == b""
    listener = await edge.listener()
    assert await listener.end() == (1000, True)
    assert listener.messages == [(b"hi", False)]
    client.writer.close()


async def test_a_breach_with_the_handshake_is_refused(edge: Edge) -> None:
    """The 101 comes first, then the close frame."""
    client = await RawClient.connect(edge, first=frame(TEXT, b"x", rsv=4))

    assert (await client.close_frame())[0] == 1002
    assert await client.rest() == b""
    client.writer.close()
    assert await (await edge.listener()).end() == (1002, False)


@pytest.mark.parametrize("cancelling", [False, True], ids=["plain", "handler_cancellation"])
async def test_aiohttp_keeps_nothing_of_an_upgraded_socket(
    cancelling: bool, way_in: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines in `_take_transport` lean on aiohttp's insides; this fails when an aiohttp changes them.

    Its handler, request, task and timers are gone while the socket lives on, and nothing was logged.
    """
    caplog.set_level(logging.INFO)
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with running_edge(handler_cancellation=cancelling) as edge:
        tasks = asyncio.all_tasks()
        assert handlers() == []
        clients = [await RawClient.connect(edge) for _ in range(5)]

        assert await settled(lambda: handlers() == [])
        assert asyncio.all_tasks() == tasks
        assert edge.runner.server is not None
        assert edge.runner.server.connections == []
        for number, client in enumerate(clients):
            client.send(frame(TEXT, b"%d" % number))
            assert await client.frame() == (0x81, b"%d" % number)
            await client.hang_up()
            await (await edge.listener(number)).end()
    records = [record for record in caplog.records if record.name != "aiohttp.access"]
    access = [record for record in caplog.records if record.name == "aiohttp.access"]
    assert records == []
    assert unhandled == []
    # Whoever came through the door aiohttp has never heard of.
    assert edge.answers == ([101] * 5 if way_in == "door" else [])
    assert len(access) in ({0} if way_in == "door" else {0, 5} if cancelling else {5})
    assert all('"GET /v1/ws HTTP/1.1" 101' in record.getMessage() for record in access)


def test_the_compiled_unmasking_of_aiohttp_is_found() -> None:
    """It is private to aiohttp as well; without it we are right, but slower, and should know."""
    assert connection.unmask is not frames.unmask


async def test_middlewares_see_an_ordinary_response() -> None:
    """A middleware may set headers, count and time: after an upgrade it sees a 101, and no exception."""
    seen: list[int] = []

    @web.middleware
    async def counting(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Request-ID"] = "42"
        seen.append(response.status)
        return response

    async with running_edge(prepare=lambda app: app.middlewares.append(counting)) as edge:
        client = await RawClient.connect(edge)
        client.send(frame(TEXT, b"x"))
        assert await client.frame() == (0x81, b"x")
        await client.hang_up()
        refused = await RawClient.dial(edge)
        refused.send(handshake(Origin="https://evil.example"))
        assert (await refused.response())[0] == 403
        await refused.hang_up()

    assert seen == [101, 403]


async def test_a_session_that_cannot_start_closes_only_its_own_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`accept` raised: the client is told 4000 after its 101, and the log has the traceback."""

    def broken(connection: Connection, info: ConnectionInfo) -> Recorder:
        if info.user_agent == "broken":
            raise RuntimeError("no session today")
        return Recorder(connection, info)

    async with running_edge(broken) as edge:
        good = await RawClient.connect(edge)
        bad = await RawClient.dial(edge)
        bad.send(handshake(User_Agent="broken") + frame(TEXT, b"hello?"))
        assert (await bad.response())[0] == 101
        assert await bad.close_frame() == (4000, "internal")
        bad.send(frame(CLOSE, close_payload(4000)))
        assert await bad.rest() == b""
        good.send(frame(TEXT, b"fine"))
        assert await good.frame() == (0x81, b"fine")
        for client in (good, bad):
            await client.hang_up()

    [record] = [record for record in caplog.records if record.exc_info]
    assert "no session today" in caplog.text
    assert record.name == "signaling.upgrade"


async def test_a_thousand_connections_leave_nothing() -> None:
    """Opened, used and closed in every way: no Connection, parser, listener or handler stays in memory."""
    async with running_edge() as edge:
        assert live_objects() == []
        for batch in range(20):
            clients = await asyncio.gather(*(RawClient.connect(edge) for _ in range(50)))
            for number, client in enumerate(clients):
                client.send(frame(TEXT, b"x" * 200))
                await client.frame()
                listener = await edge.listener(number)
                match number % 5:
                    case 0:
                        client.send(frame(CLOSE, close_payload(1000)))
                    case 1:
                        listener.connection.close(4001, "drain")
                        client.send(frame(CLOSE, close_payload(4001)))
                    case 2:
                        client.send(frame(TEXT, b"x", rsv=7))
                    case 3:
                        client.send(frame(TEXT, b"half")[:-1])
                    case 4:
                        listener.connection.abort()
            for number, client in enumerate(clients):
                await client.hang_up()
                await edge.listeners[number].end() if batch == 0 else None
            assert await settled(lambda: all(listener.closed for listener in edge.listeners))
            edge.listeners.clear()
            del clients, client, listener

        assert await settled(lambda: live_objects() == [])


async def test_closed_connections_do_not_wait_for_the_garbage_collector(edge: Edge) -> None:
    """No cycles: with the collector off, as a hub with a high threshold runs, closed connections are freed."""
    await (await RawClient.connect(edge)).hang_up()  # what is made once only
    await (await edge.listener()).end()
    edge.listeners.clear()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            client = await RawClient.connect(edge)
            client.send(frame(TEXT, b"x") + frame(CLOSE, close_payload(1000)))
            await client.rest()
            client.writer.close()
            await (await edge.listener()).end()
            edge.listeners.clear()
        del client

        def alive() -> int:
            return sum(type(found) is Connection for found in gc.get_objects())

        assert await settled(lambda: alive() == 0)
    finally:
        gc.enable()


@pytest.mark.parametrize("closing", [True, False], ids=["closed by the application", "left open"])
async def test_the_server_stops_at_once_with_open_sockets(closing: bool) -> None:
    """aiohttp does not wait for sockets it no longer has; the application closes them with a code and they hear it."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks()

    open_now: list[Recorder] = []

    async def say_goodbye(_: web.Application) -> None:
        for listener in open_now:
            listener.connection.close(4001, "drain")

    async with running_edge(prepare=lambda app: app.on_shutdown.append(say_goodbye)) as edge:
        clients = [await RawClient.connect(edge) for _ in range(10)]
        await edge.listener(9)
        open_now.extend(edge.listeners if closing else [])
        async with (
            aiohttp.ClientSession() as session,
            session.get(edge.url.replace("ws", "http", 1)) as plain,
        ):
            assert plain.status == 400
            began = loop.time()
            await edge.runner.cleanup()
            took = loop.time() - began
        for client in clients:
            if closing:
                assert await client.close_frame() == (4001, "drain")
                client.send(frame(CLOSE, close_payload(4001)))
                assert await client.rest() == b""
            else:
                client.send(frame(TEXT, b"still"))
                assert await client.frame() == (0x81, b"still")
            await client.hang_up()

    assert took < 5.0
    assert await settled(lambda: asyncio.all_tasks() == tasks)
