"""Which sockets a process accepts on while it comes and goes."""

import asyncio

from minuet.wiring.listening import Server, listen


async def test_a_process_that_is_leaving_begins_on_no_further_socket() -> None:
    """It was told to look after another's, and to end, in the same turn."""
    listening = listen("127.0.0.1", 0)
    server = Server(asyncio.Protocol)
    begins = asyncio.create_task(server.accept_on(1, listening.socket))
    await asyncio.sleep(0)
    await server.stop_accepting()
    await begins

    assert server._listening == {}
    listening.socket.close()
