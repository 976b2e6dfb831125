"""Ten times more handshakes than a node takes: it sheds with 503, serves whoever is in, and recovers."""

import asyncio
import os
import signal

import aiohttp

from tests.fixtures.deployment import Deploy, People, Process

RATE = 20
SECONDS = 4


async def turned_away(people: People, process: Process, reason: str) -> float:
    async with people.http.get(f"{process.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    name = f'minuet_handshakes_turned_away_total{{reason="{reason}"}}'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def knock(people: People, url: str) -> tuple[int, str | None]:
    """The status of a handshake, and what `Retry-After` says."""
    try:
        socket = await people.http.ws_connect(
            url.replace("http", "ws", 1) + "/v1/ws", protocols=["minuet.v1.json"]
        )
    except aiohttp.WSServerHandshakeError as error:
        headers = error.headers or {}
        return error.status, headers.get("Retry-After")
    await socket.close()
    return 101, None


async def test_ten_times_the_load_is_shed_and_forgotten(deploy: Deploy, people: People) -> None:
    """Only as many get in as the node takes; whoever was in is answered all the while; afterwards all are welcome."""
    deployment = await deploy("serve --all-in-one", MINUET_HANDSHAKES_PER_S=str(RATE))
    hub = deployment.of("serve")
    resident = await people.online(hub.public)
    answers: list[tuple[int, str | None]] = []
    slowest_s = 0.0
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def knocks() -> None:
        answers.append(await knock(people, hub.public))

    async with asyncio.TaskGroup() as tasks:
        for number in range(RATE * 10 * SECONDS):
            tasks.create_task(knocks())
            if number % 40 == 0:
                asked = loop.time()
                await resident.request("queue.leave")
                slowest_s = max(slowest_s, loop.time() - asked)
            await asyncio.sleep(max(0.0, began + number / (RATE * 10) - loop.time()))
    took_s = loop.time() - began
    statuses = [status for status, _ in answers]
    await asyncio.sleep(2.5)
    afterwards = await asyncio.gather(*(knock(people, hub.public) for _ in range(RATE)))

    assert set(statuses) == {101, 503}
    assert statuses.count(101) <= RATE * took_s + 2 * RATE + 1
    assert {retry for status, retry in answers if status == 503} <= {"1", "2", "3"}
    assert await turned_away(people, hub, "rate") == statuses.count(503)
    assert [status for status, _ in afterwards] == [101] * RATE
    await resident.request("presence.set", {"away": True})
    assert slowest_s < 5


async def test_a_burst_fills_a_node_and_no_more(deploy: Deploy, people: People) -> None:
    """Sockets that have not said who they are take up room, too; as soon as they leave there is room again."""
    deployment = await deploy("serve --all-in-one", MINUET_MAX_SESSIONS="30")
    hub = deployment.of("serve")
    resident = await people.online(hub.public)
    url = hub.public.replace("http", "ws", 1) + "/v1/ws"

    async def enter() -> aiohttp.ClientWebSocketResponse | int:
        try:
            return await people.http.ws_connect(url, protocols=["minuet.v1.json"])
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    burst = await asyncio.gather(*(enter() for _ in range(120)))
    sockets = [answer for answer in burst if not isinstance(answer, int)]
    full = await turned_away(people, hub, "full")
    await asyncio.gather(*(socket.close() for socket in sockets))
    async with asyncio.timeout(20):
        while (await knock(people, hub.public))[0] != 101:
            await asyncio.sleep(0.1)

    assert len(sockets) == 29
    assert full == 91
    assert {answer for answer in burst if isinstance(answer, int)} == {503}
    await resident.request("queue.leave")


async def test_a_loop_that_was_stuck_takes_nobody_in_at_once(deploy: Deploy, people: People) -> None:
    """Handshakes that queued up while the node did not turn are sent away, and let in a moment later."""
    deployment = await deploy("serve --all-in-one", MINUET_MAX_LOOP_LAG_S="0.5")
    hub = deployment.of("serve")
    os.kill(hub.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(knock(people, hub.public)) for _ in range(20)]
    await asyncio.sleep(2)
    os.kill(hub.pid, signal.SIGCONT)

    answers = await asyncio.gather(*waiting)
    async with asyncio.timeout(20):
        while (await knock(people, hub.public))[0] != 101:
            await asyncio.sleep(0.2)

    assert {status for status, _ in answers} == {503}
    assert await turned_away(people, hub, "lag") >= 20
