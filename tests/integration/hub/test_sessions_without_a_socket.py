"""Clients that leave while their session moves from one node to another: nothing of them may stay behind."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from base.ids import NodeId, UserId
from loadtests.swarm.client import Client, Closed
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.e2e.scripted import pair_up
from tests.e2e.waiting import metrics, until
from tests.fixtures.deployment import Deployment, Lasting, People, Process

CONFIG = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 0.0
deciding_s = 30.0
reconnecting_s = 3.0
ip_privacy = "off"
"""
PATIENCE_S = 30.0


@dataclass(frozen=True)
class TwoHubs:
    """The two processes, and the store that they share."""

    deployment: Deployment
    first: Process
    second: Process

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Any, Keys]]:
        environment = self.deployment.environment
        redis = connect(environment["MINUET_REDIS_URL"])
        try:
            yield redis, Keys(environment["MINUET_REDIS_PREFIX"])
        finally:
            await redis.aclose()

    async def row(self, client: Client) -> list[str] | None:
        """Node, session and generation of a device, as the store has them."""
        async with self.store() as (redis, keys):
            user = keys.user(UserId(client.account["user"]["id"]))
            row = await redis.hget(user, f"session:{client.device_id}")
        return None if row is None else row.decode().split(" ")


@pytest.fixture(scope="module")
def hubs(lasting: Lasting) -> Iterator[TwoHubs]:
    with lasting("serve", "serve", "matchmaker", config=CONFIG) as deployment:
        first, second = (process for process in deployment.processes if process.role == "serve")
        yield TwoHubs(deployment, first, second)


def turn_to(client: Client, process: Process) -> None:
    """Lets a client's next socket go to another node."""
    client._url = process.public.replace("http", "ws", 1) + "/v1/ws"


@asynccontextmanager
async def stopped(process: Process) -> AsyncIterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    process.child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.child.send_signal(signal.SIGCONT)


async def test_a_device_that_begins_anew_elsewhere_is_on_one_list_only(hubs: TwoHubs, people: People) -> None:
    """Each page that is loaded again by way of another node would leave a name behind."""
    her = await people.online(hubs.first.public)
    left = await hubs.row(her)
    turn_to(her, hubs.second)
    await her.drop()
    await her.start(her.account["access_token"])
    has = await hubs.row(her)

    assert left is not None
    assert has is not None
    await until(partial(is_listed, hubs, her, left[0], yes=False), PATIENCE_S)
    await until(partial(is_listed, hubs, her, has[0], yes=True), PATIENCE_S)


async def test_who_leaves_while_the_session_does_not_come_has_a_minute_as_ever(
    hubs: TwoHubs, people: People
) -> None:
    """The row names the new node by then, and the old one lets the session go: somebody has to look after it, or its user
    would be online for as long as that node lives."""
    her = await people.online(hubs.first.public)
    lost, before = her.session_id, await hubs.row(her)
    assert before is not None
    async with stopped(hubs.first):
        turn_to(her, hubs.second)
        resuming = asyncio.create_task(her.resume(her.account["access_token"]))
        await until(partial(has_left, hubs, her, before[0]), PATIENCE_S)
        resuming.cancel()
        await her.drop()
        await until(partial(is_looked_after, hubs, people), PATIENCE_S)
    row = await hubs.row(her)
    answer = await her.resume(her.account["access_token"])

    assert row is not None
    assert row[1] != lost
    assert answer["type"] == "session.ready"


async def test_who_is_signed_out_while_the_session_does_not_come_leaves_the_call(
    hubs: TwoHubs, people: People
) -> None:
    """The row names the new node, which must not let her in; her call is not to go on without her for that."""
    pair = await pair_up(people, hubs.second.public)
    turn_to(pair.her, hubs.first)
    await pair.her.drop()
    await pair.her.resume(pair.her.account["access_token"])
    await pair.talk()
    before = await hubs.row(pair.her)
    assert before is not None
    async with stopped(hubs.first):
        turn_to(pair.her, hubs.second)
        resuming = asyncio.create_task(pair.her.resume(pair.her.account["access_token"]))
        await until(partial(has_left, hubs, pair.her, before[0]), PATIENCE_S)
        headers = {"Authorization": f"Bearer {pair.her.account['access_token']}"}
        url = f"{hubs.second.public}/api/v1/auth/logout-all"
        async with people.http.post(url, headers=headers) as response:
            assert response.status == 200
        # Where this machine was too slow, she was let in just before; then she is closed a moment later.
        with suppress(Closed):
            await resuming
    ended = await pair.him.wait_for("call.ended", **pair.call, timeout_s=PATIENCE_S)
    await until(partial(is_gone, hubs, pair.her), PATIENCE_S)

    assert ended["duration_ms"] < 60_000


async def has_left(hubs: TwoHubs, client: Client, node_id: str) -> bool | None:
    """Once the device's row names another node."""
    row = await hubs.row(client)
    return True if row is not None and row[0] != node_id else None


async def is_looked_after(hubs: TwoHubs, people: People) -> bool | None:
    """Once the second node has a session without a socket."""
    now = await metrics(people.http, hubs.second.admin)
    return True if now['minuet_presence_users{state="reconnecting"}'] == 1 else None


async def is_listed(hubs: TwoHubs, client: Client, node_id: str, *, yes: bool) -> bool | None:
    """Once the device is on the node's list of sessions, or not any more."""
    async with hubs.store() as (redis, keys):
        members = await redis.smembers(keys.node_sessions(NodeId(node_id)))
    return True if any(client.device_id in member.decode() for member in members) is yes else None


async def is_gone(hubs: TwoHubs, client: Client) -> bool | None:
    """Once the device has no row any more."""
    return True if await hubs.row(client) is None else None
