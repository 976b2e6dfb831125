"""A hub that was stopped for seconds and goes on: it looks again before it handles what came meanwhile."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fixtures.deployment import Deploy, Deployment, People, Process

TWO_HUBS = ("serve", "serve", "matchmaker", "worker")
REAPED_S = 6.5
"""After this the stopped node is dead to all, and nobody tells it any more where its people went."""

CALLS = """
[intents.dating]
call_seconds = 60.0
connecting_s = 60.0
[intents.friends]
call_seconds = 60.0
"""


def hubs(deployment: Deployment) -> tuple[Process, Process]:
    first, second = (process for process in deployment.processes if process.role == "serve")
    return first, second


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """A process stands still for as long as the block lasts, and goes on."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def count_of(people: People, process: Process, name: str) -> float:
    """The sum of a metric's samples."""
    async with people.http.get(f"{process.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


@pytest.mark.parametrize("seconds", [3.4, 6.0])
async def test_who_stayed_is_served_on(deploy: Deploy, people: People, seconds: float) -> None:
    """Nobody went elsewhere: sessions go on, whether the lease lapsed or not, and what was asked meanwhile is answered."""
    deployment = await deploy(*TWO_HUBS, config=CALLS)
    first, _ = hubs(deployment)
    clients = [await people.online(first.public) for _ in range(20)]

    before = await count_of(people, first, "minuet_standstills_total")
    with stopped(first):
        await asyncio.sleep(seconds / 2)
        answers = asyncio.gather(*(client.request("presence.set", {"away": True}) for client in clients))
        await asyncio.sleep(seconds / 2)

    assert len(await answers) == 20
    assert await count_of(people, first, "minuet_standstills_total") > before
    assert await count_of(people, first, "minuet_standstill_frames_total") >= 20
    await asyncio.gather(*(client.request("presence.set", {"away": False}) for client in clients))


async def test_what_an_old_socket_asked_does_nothing_to_a_new_session(deploy: Deploy, people: People) -> None:
    """The device waits on another hub by now: its old socket's `queue.leave` is neither done nor answered."""
    deployment = await deploy(*TWO_HUBS, config=CALLS)
    first, second = hubs(deployment)
    old = await people.online(first.public, "female")
    with stopped(first):
        await old.send("queue.leave", {}, old.wire.next_id())
        await asyncio.sleep(REAPED_S)
        new = people.client(second.public, device_id=old.device_id)
        await new.start(old.account["access_token"])
        await new.request("queue.join", {"intent": "dating", "preferences": {}})
    code = await old.wait_closed()
    # Time for whatever the stopped hub might do wrong.
    await asyncio.sleep(2)
    partner = await people.online(second.public, "male")
    await partner.request("queue.join", {"intent": "dating", "preferences": {}})
    found = await asyncio.gather(new.wait_for("match.found"), partner.wait_for("match.found"))

    assert code in (4001, 4501)
    assert [message["type"] for message in old.inbox if message["type"] in ("ok", "error")] == []
    assert found[0]["call_id"] == found[1]["call_id"]
    await asyncio.sleep(1)
    assert [message for message in new.inbox if message["type"] == "match.found"] == []


async def test_a_call_goes_on_though_the_old_socket_hung_up(deploy: Deploy, people: People) -> None:
    """The device is in its call on another hub by now: what its old socket said while the hub was stopped ends nothing."""
    deployment = await deploy(*TWO_HUBS, config=CALLS)
    first, second = hubs(deployment)
    old = await people.online(first.public, "female")
    partner = await people.online(second.public, "male")
    for client in (old, partner):
        await client.request("queue.join", {"intent": "dating", "preferences": {}})
    call_id = (await old.wait_for("match.found"))["call_id"]
    for client in (old, partner):
        await client.request("call.accept", {"call_id": call_id})
    with stopped(first):
        await old.send("call.hangup", {"call_id": call_id}, old.wire.next_id())
        await asyncio.sleep(REAPED_S)
        new = people.client(second.public, device_id=old.device_id)
        ready = await new.start(old.account["access_token"])
    await old.wait_closed()
    await asyncio.sleep(2)

    assert ready["snapshot"]["call"]["call_id"] == call_id
    assert [message for message in (*partner.inbox, *new.inbox) if message["type"] == "call.ended"] == []
    await new.request("call.hangup", {"call_id": call_id})
    assert (await partner.wait_for("call.ended"))["call_id"] == call_id
