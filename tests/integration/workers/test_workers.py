"""Several workers on one port: all serve, and the port is open whatever becomes of each."""

import asyncio
import os
import signal
from urllib.parse import urlsplit

import orjson

from minuet.embedded.server import free_port
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures.deployment import Deploy, People
from tests.fixtures.waiting import until
from tests.integration.workers.crew import TIMEOUT_S, CrewOf, gone
from tests.integration.workers.knocking import knock, knocking


async def test_all_workers_serve_the_one_port(crew_of: CrewOf, people: People) -> None:
    """Connections are spread over the workers, each of which is a node that others can see."""
    crew = await crew_of(2)

    await asyncio.gather(*(people.online(crew.url) for _ in range(24)))

    async def all_are_counted() -> bool:
        return await crew.metric("minuet_ws_connections") == 24

    await until(all_are_counted, TIMEOUT_S)
    shares = [await crew.metric("minuet_ws_connections", worker=number) for number in ("0", "1")]
    assert min(shares) > 0
    assert sum(shares) == 24


async def test_two_on_different_workers_meet(crew_of: CrewOf, people: People) -> None:
    """Whoever is let in by one worker is matched with people of the others."""
    # A match lasts until everybody has been asked for theirs.
    crew = await crew_of(2, "matchmaker", "worker", config=UNHURRIED)
    women = await asyncio.gather(*(people.online(crew.url, "female") for _ in range(6)))
    men = await asyncio.gather(*(people.online(crew.url, "male") for _ in range(6)))

    for client in (*women, *men):
        await client.request("queue.join", {"intent": "dating", "preferences": {}})

    found = await asyncio.gather(*(client.wait_for("match.found", TIMEOUT_S) for client in (*women, *men)))
    assert len({match["call_id"] for match in found}) == 6


async def test_the_admin_port_tells_of_the_whole_and_of_each(crew_of: CrewOf, people: People) -> None:
    """Health, readiness and metrics for those who ask for all, and for those who want each worker by itself."""
    crew = await crew_of(2)

    async with people.http.get(f"{crew.process.admin}/healthz") as response:
        assert response.status == 200
    status, body = await crew.readiness()
    one = await people.http.get(f"{crew.process.admin}/workers/1/metrics")
    none = await people.http.get(f"{crew.process.admin}/workers/2/metrics")

    # TURN is not configured here, which is told but keeps nobody from serving.
    assert (status, body["workers"]) == (200, {"0": "degraded", "1": "degraded"})
    assert (await crew.readiness("?strict=1"))[0] == 503
    assert await crew.metric("minuet_workers_serving", worker="supervisor") == 2
    assert await crew.metric("minuet_build_info", role="hub") == 2
    assert "minuet_ws_connections 0.0" in await one.text()
    assert none.status == 404


async def test_logs_say_which_worker_speaks(crew_of: CrewOf) -> None:
    """Lines of several processes in one stream can be told apart."""
    crew = await crew_of(2)

    def spoke() -> set[int]:
        lines = [orjson.loads(line) for line in crew.process.log.read_text().splitlines()]
        return {line["worker"] for line in lines if line["event"] == "serving"}

    # A worker says where it listens a moment before it logs that.
    await until(lambda: len(spoke()) == 2, TIMEOUT_S)
    assert spoke() == {0, 1}


async def test_a_killed_worker_is_replaced_and_nobody_stands_before_a_closed_door(
    crew_of: CrewOf, people: People
) -> None:
    """kill -9: another worker minds the door at once, until the next one stands there. Nobody is refused or cut off."""
    crew = await crew_of(2)
    before = await crew.pids()

    async with knocking(crew.url) as knocks:
        await asyncio.sleep(0.3)
        # Connections that the dying worker has already accepted are lost with it, so it is stopped first: what comes
        # from now on waits in its queue.
        os.kill(before[0], signal.SIGSTOP)
        await asyncio.sleep(0.3)
        accepted = len(knocks.failures)
        os.kill(before[0], signal.SIGKILL)
        after = await crew.until(
            lambda workers: all(w["state"] == "serving" for w in workers) and workers[0]["pid"] != before[0]
        )
        await asyncio.sleep(0.5)
        await until(lambda: knocks.answered > 100, TIMEOUT_S)

    assert accepted == 0
    # At most what it had in its hands when it was stopped: one of each knocker.
    assert len([failure for failure in knocks.failures if "refused" in failure]) == 0
    assert len(knocks.failures) <= 4
    assert after[1]["pid"] == before[1]
    assert await crew.metric("minuet_worker_deaths_total") == 1


async def test_a_worker_that_somebody_else_stops_is_replaced(crew_of: CrewOf, people: People) -> None:
    """SIGTERM to one worker: it sends its people elsewhere, others open at its door meanwhile, and the next one comes."""
    crew = await crew_of(2)
    for _ in range(10):
        await people.online(crew.url)
    before = await crew.pids()

    loop = asyncio.get_running_loop()
    async with knocking(crew.url) as knocks:
        began = loop.time()
        os.kill(before[0], signal.SIGTERM)
        after = await crew.until(
            lambda workers: all(w["state"] == "serving" for w in workers) and workers[0]["pid"] != before[0]
        )
        took_s = loop.time() - began

    assert knocks.failures == []
    # Before a closed door they would have stood for as long as it took; on a slow machine everything takes longer.
    assert knocks.slowest_s < max(3.0, took_s / 2)
    assert after[1]["pid"] == before[1]


async def test_a_queue_outlives_its_only_worker(crew_of: CrewOf) -> None:
    """Connections that a worker had not accepted when it was killed are found by its replacement."""
    crew = await crew_of(1)
    (pid,) = await crew.pids()
    os.kill(pid, signal.SIGSTOP)

    waiting = [asyncio.create_task(knock(crew.url)) for _ in range(20)]
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in waiting)
    os.kill(pid, signal.SIGKILL)

    async with asyncio.timeout(60):
        answers = await asyncio.gather(*waiting)
    assert set(answers) == {"HTTP/1.1 200 OK"}


async def test_a_worker_that_hangs_keeps_nobody_waiting(crew_of: CrewOf) -> None:
    """SIGSTOP: it does not die, so the kernel goes on sending people to it. Another one opens to them until it answers."""
    crew = await crew_of(2)
    before = await crew.pids()
    os.kill(before[0], signal.SIGSTOP)
    try:
        await crew.until(lambda workers: workers[0]["state"] == "silent")
        async with knocking(crew.url) as knocks:
            # Every other of them comes to its door: were it closed, each of the four would soon stand there.
            await until(lambda: knocks.answered > 200, TIMEOUT_S)
    finally:
        os.kill(before[0], signal.SIGCONT)
    await crew.until(lambda workers: workers[0]["state"] == "serving")

    assert knocks.failures == []
    assert await crew.pids() == before
    assert await crew.metric("minuet_worker_deaths_total") == 0


async def test_workers_end_with_their_supervisor(crew_of: CrewOf, people: People, deploy: Deploy) -> None:
    """kill -9 of the supervisor: the workers send their people elsewhere and end, and the port is free again."""
    # Of no range from which others get theirs: it is to be free again when it is looked for.
    port = str(free_port())
    crew = await crew_of(2, MINUET_PORT=port)
    client = await people.online(crew.url)
    pids = await crew.pids()

    await crew.process.kill()

    assert await client.wait_closed() == 4001
    await gone(*pids)
    again = await deploy("serve --workers 2", MINUET_PORT=port)
    assert await knock(again.url) == "HTTP/1.1 200 OK"


async def test_a_taken_port_is_told_and_not_shared(crew_of: CrewOf, deploy: Deploy) -> None:
    """A second supervisor on the same port would take half of the connections; it says so and ends instead."""
    crew = await crew_of(1)
    port = str(urlsplit(crew.url).port)

    second = await deploy(MINUET_PORT=port)
    try:
        await second.start("serve", "--workers", "1")
    except RuntimeError as error:
        told = str(error)
    else:
        told = "it started"

    assert "Address already in use" in told
    assert await second.processes[0].child.wait() == 2


async def test_what_cannot_start_ends_with_a_clear_status(deploy: Deploy, empty_database_url: str) -> None:
    """A schema that is missing is said once for each try and not tried for ever: exit status 2."""
    deployment = await deploy(MINUET_DATABASE_URL=empty_database_url)
    try:
        await deployment.start("serve", "--workers", "1")
    except RuntimeError as error:
        told = str(error)
    else:
        told = "it started"

    assert "migrate up" in told
    assert await deployment.processes[0].child.wait() == 2


async def test_the_whole_says_that_it_leaves_before_it_does(crew_of: CrewOf, people: People) -> None:
    """SIGTERM: /readyz turns to 503 first, people are sent elsewhere after that, and the end is a clean one."""
    crew = await crew_of(2, MINUET_DRAIN_NOTICE_S="12")
    clients = [await people.online(crew.url) for _ in range(6)]

    crew.process.child.send_signal(signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_S):
        while (answer := await crew.readiness())[0] != 503:
            await asyncio.sleep(0.02)
    assert answer[1]["status"] == "not_ready"
    still_here = await asyncio.gather(
        *(client.request("presence.set", {"away": False}) for client in clients)
    )

    assert len(still_here) == 6
    assert [await client.wait_closed() for client in clients] == [4001] * 6
    delays = [(await client.wait_for("session.drain"))["reconnect_after_ms"] for client in clients]
    assert len(set(delays)) > 1
    assert await crew.process.stop() == 0
