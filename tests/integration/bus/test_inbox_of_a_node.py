"""The inbox of a node that begins anew: opened once for each incarnation, however often the node says so."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from base.ids import NodeId
from minuet.wiring.own_inbox import OwnInbox
from storage.redis.client import connect
from tests.fixtures.waiting import until
from tests.integration.bus.buses import Node


async def test_an_inbox_that_is_named_again_hears_nothing_twice(redis_url: str) -> None:
    """Taking up another incarnation is repeated until it succeeds; an inbox that forgot would ask for all once more."""
    heard: list[bytes] = []
    listening: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        listening.append(asyncio.create_task(work))
        return listening[-1]

    me = NodeId("01a20142-1286-7247-aef6-634e58cdf3b7")
    async with (
        Node(connect(redis_url)).running() as sender,
        Node(connect(redis_url)).running() as receiver,
    ):
        inbox = OwnInbox(receiver.bus, heard.append, spawn)
        inbox.listen_as(me)
        await receiver.bus.subscribed(me)
        sender.bus.publish(me, b"one")
        sender.bus.publish(me, b"two")
        await until(lambda: len(heard) == 2)
        inbox.listen_as(me)
        await asyncio.sleep(0.1)
        sender.bus.publish(me, b"three")
        await until(lambda: b"three" in heard)
        for task in listening:
            task.cancel()

    assert heard == [b"one", b"two", b"three"]
