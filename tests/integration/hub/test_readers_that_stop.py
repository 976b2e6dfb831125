"""Clients that do not read what they are sent: what becomes of them, of their peers, of the hub and of everybody else.

Their sockets have small buffers, and the program behind them stops reading, while it may go on sending.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loadtests.swarm.client import Client, Closed, RequestRefused
from tests.e2e.scripted import Pair, match, pair_up
from tests.e2e.waiting import metrics
from tests.fixtures.deployment import Deployment, Lasting, People
from tests.fixtures.sdp import VOICE

CONFIG = """
[intents.dating]
call_seconds = 120.0
decide_after_s = 600.0
reconnecting_s = 60.0
negotiation_s = 1.0
max_offers = 1000
offers_s = 10.0
signaling_bytes = 100000000
ip_privacy = "off"
"""
FIRST_OFFER = 20
"""Of those that are made in a call that is live."""
LARGE = VOICE + "a=note:" + "x" * 15_000 + "\r\n"
CLOSE_ABOVE = 256 * 1024
MIB = 1 << 20


@pytest.fixture(scope="module")
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting("serve", "matchmaker", config=CONFIG) as deployment:
        yield deployment


@pytest.fixture
async def narrow() -> AsyncIterator[People]:
    """People whose sockets take little."""

    def small(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return made

    connector = aiohttp.TCPConnector(limit=0, socket_factory=small)
    async with aiohttp.ClientSession(connector=connector) as http:
        crowd = People(http)
        yield crowd
        await asyncio.gather(*(client.close() for client in crowd.clients), return_exceptions=True)


async def couple(deployment: Deployment, people: People, narrow: People) -> Pair:
    """A live call of somebody ordinary, and somebody with a narrow socket: him."""
    region = people.client(deployment.url).device_id[:12]
    her = await people.online(deployment.url, "female", region=region)
    him = await narrow.online(deployment.url, "male", region=region)
    pair = await match(her, him, "dating", {"regions": [region]})
    await talk(pair)
    return pair


async def talk(pair: Pair) -> None:
    """As `Pair.talk`; where an offer ran out before its answer came, another one is made."""
    for side in pair.both:
        await side.request("call.accept", pair.call)
    for side in pair.both:
        await side.wait_for("call.ice_servers", **pair.call)
    for number in range(1, FIRST_OFFER):
        try:
            await pair.negotiate(pair.her, pair.him, number)
        except RequestRefused as refused:
            assert refused.code == "stale_negotiation", refused
        else:
            break
    await pair.go_live()


def transport_of(client: Client) -> asyncio.Transport:
    assert client._socket is not None
    connection = client._socket._response.connection
    assert connection is not None
    assert isinstance(connection.transport, asyncio.Transport)
    return connection.transport


class Talker:
    """Sends offers to somebody for as long as the block lasts; each costs the hub some 15 kB of what he does not read."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.passed: list[int] = []

    async def __aenter__(self) -> "Talker":
        self._task = asyncio.create_task(self._talk())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _talk(self) -> None:
        for number in range(FIRST_OFFER, 10_000):
            offer = {**self._pair.call, "negotiation": number, "sdp": LARGE}
            try:
                await self._pair.her.request("call.offer", offer)
            except Closed:
                return
            except Exception:  # too many are unanswered: in a second the oldest has run out
                await asyncio.sleep(0.2)
            else:
                self.passed.append(number)
            await asyncio.sleep(0.05)


async def keeps_sending(client: Client, *, acks: bool) -> None:
    """Shows that it lives, and reads nothing; with `acks` it even claims to have read everything."""
    while True:
        if acks:
            client.wire.last_seq = 1_000_000
            await client.send_raw(b'{"type":"ack","ack":1000000}')
        else:
            await client.send_raw(b'{"type":"pong"}')
        await asyncio.sleep(0.25)


async def closed_with(http: aiohttp.ClientSession, deployment: Deployment, code: int) -> float:
    samples = await metrics(http, deployment.of("serve").admin)
    return samples.get(f'minuet_ws_closed_total{{code="{code}"}}', 0)


async def until_closed(
    http: aiohttp.ClientSession, deployment: Deployment, code: int, before: float, timeout_s: float
) -> float:
    """Waits for one more connection to be closed with a code; the most that waited unsent meanwhile."""
    most = 0.0
    async with asyncio.timeout(timeout_s):
        while True:
            samples = await metrics(http, deployment.of("serve").admin)
            most = max(most, samples["minuet_send_buffer_bytes"])
            if samples.get(f'minuet_ws_closed_total{{code="{code}"}}', 0) > before:
                return most
            await asyncio.sleep(0.1)


async def test_who_reads_nothing_is_let_go_and_finds_all_of_it_later(
    deployment: Deployment, people: People, narrow: People
) -> None:
    """After 10 s in which a full socket took nothing: 4003. What he was sent waits for him, in order."""
    pair = await couple(deployment, people, narrow)
    before = await closed_with(people.http, deployment, 4003)
    last_seq = pair.him.last_seq
    numbers = range(FIRST_OFFER, FIRST_OFFER + 8)
    started = time.monotonic()
    transport_of(pair.him).pause_reading()
    alive = asyncio.create_task(keeps_sending(pair.him, acks=False))
    for number in numbers:
        await pair.her.request("call.offer", {**pair.call, "negotiation": number, "sdp": LARGE})
    unsent = await until_closed(people.http, deployment, 4003, before, 60.0)
    took_s = time.monotonic() - started
    alive.cancel()
    await asyncio.gather(alive, return_exceptions=True)
    pair.him.inbox.clear()
    pair.him.wire.last_seq = last_seq
    await pair.him.drop()
    answer = await pair.him.resume(pair.him.account["access_token"])
    offers = [await pair.him.wait_for("call.offer") for _ in numbers]

    assert answer["type"] == "session.resumed"
    assert [offer["negotiation"] for offer in offers] == list(numbers)
    assert took_s > 9
    assert 64 * 1024 < unsent < CLOSE_ABOVE


async def test_whose_outbox_is_full_has_to_begin_anew(
    deployment: Deployment, people: People, narrow: People
) -> None:
    """More than is kept for anybody: 4006, and a new session that says where everything stands."""
    pair = await couple(deployment, people, narrow)
    before = await closed_with(people.http, deployment, 4006)
    transport_of(pair.him).pause_reading()
    alive = asyncio.create_task(keeps_sending(pair.him, acks=False))
    async with Talker(pair):
        unsent = await until_closed(people.http, deployment, 4006, before, 60.0)
    alive.cancel()
    await asyncio.gather(alive, return_exceptions=True)
    await pair.him.drop()
    answer = await pair.him.resume(pair.him.account["access_token"])

    assert answer["type"] == "session.ready"
    assert not answer["data"]["resumed"]
    assert answer["data"]["snapshot"]["call"]["call_id"] == pair.call_id
    assert unsent < CLOSE_ABOVE + 2 * len(LARGE)


async def test_readers_that_lie_cost_neither_memory_nor_anybody_elses_time(
    deployment: Deployment, people: People, narrow: People
) -> None:
    """Ten acknowledge what they never read. Each is closed at 256 kB, and two others talk as if nobody was there."""
    quiet = await pair_up(people, deployment.url)
    await talk(quiet)
    liars = [await couple(deployment, people, narrow) for _ in range(10)]
    before = await closed_with(people.http, deployment, 4003)
    resident = rss(deployment.of("serve").pid)
    tasks = []
    for pair in liars:
        transport_of(pair.him).pause_reading()
        tasks.append(asyncio.create_task(keeps_sending(pair.him, acks=True)))
    talkers = [Talker(pair) for pair in liars]
    latencies: list[float] = []
    most_unsent, most_resident = 0.0, 0
    for talker in talkers:
        await talker.__aenter__()
    async with asyncio.timeout(120):
        while await closed_with(people.http, deployment, 4003) < before + len(liars):
            latencies.append(await round_trip(quiet))
            samples = await metrics(people.http, deployment.of("serve").admin)
            most_unsent = max(most_unsent, samples["minuet_send_buffer_bytes"])
            most_resident = max(most_resident, rss(deployment.of("serve").pid))
    for talker in talkers:
        await talker.__aexit__()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    latencies.sort()

    assert most_unsent <= len(liars) * (CLOSE_ABOVE + 2 * len(LARGE))
    assert most_resident - resident < 40 * MIB
    assert latencies
    # Some 5 ms on an idle machine; behind ten whose sockets are full it would be ten seconds, until they are closed.
    assert latencies[len(latencies) // 2] < 2, latencies
    assert latencies[-1] < 8, latencies


async def round_trip(pair: Pair) -> float:
    """How long a candidate takes from one to the other, seconds."""
    line = {"candidate": "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host", "mid": "0"}
    started = time.perf_counter()
    await pair.her.request(
        "call.candidates",
        {**pair.call, "negotiation": 1, "of": "self", "candidates": [line], "complete": False},
    )
    await pair.him.wait_for("call.candidates")
    took_s = time.perf_counter() - started
    await asyncio.sleep(0.1)
    return took_s


def rss(pid: int) -> int:
    """The resident memory of a process, bytes."""
    [line] = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")
    ]
    return int(line.split()[1]) * 1024
