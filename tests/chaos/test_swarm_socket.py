"""The swarm's sockets: one that ends in the moment in which it begins is no socket, and whoever wanted it tries again."""

import asyncio

import pytest

from tests.chaos.swarm_socket import Socket

PATIENCE_S = 60.0
LET_IN = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
GOODBYE = b"\x88\x02\x0f\xa1"


async def test_a_socket_that_is_closed_with_the_answer_was_never_open() -> None:
    """Nobody had asked yet to be told of its end: told to nobody, its owner would wait for it for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LET_IN + GOODBYE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(ConnectionResetError):
            await Socket.connect(f"http://127.0.0.1:{port}", "minuet.v1.json", PATIENCE_S)


async def test_a_socket_that_is_closed_later_tells_its_owner() -> None:
    """With the code that the server gave."""
    gone: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    go_on = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LET_IN)
        await go_on.wait()
        writer.write(GOODBYE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        socket = await Socket.connect(f"http://127.0.0.1:{port}", "minuet.v1.json", PATIENCE_S)
        socket.on_gone = gone.set_result
        go_on.set()

        assert await asyncio.wait_for(gone, PATIENCE_S) == 4001
