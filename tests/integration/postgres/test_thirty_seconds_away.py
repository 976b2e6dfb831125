"""PostgreSQL is gone for half a minute: what people have goes on, what they ask for waits or says when to come back."""

import asyncio
import os
import signal
from typing import Any

import pytest

from loadtests.swarm.client import Client, RequestRefused
from minuet.embedded import EmbeddedPostgres
from storage.postgres.migrations import migrate
from tests.compat.talking import begin, meet, part, see
from tests.fixtures.deployment import Deploy, People
from tests.integration.workers.crew import Crew

AWAY_S = 30.0
LATE_S = 60.0
CONFIG = """
[intents.dating]
call_seconds = 300.0
decide_after_s = 250.0
deciding_s = 5.0
"""


async def get(people: People, client: Client, url: str, path: str) -> tuple[int, Any, str | None]:
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with people.http.get(f"{url}/api/v1{path}", headers=headers) as response:
        return response.status, await response.json(), response.headers.get("Retry-After")


async def test_half_a_minute_without_the_database(
    deploy: Deploy, people: People, private_postgres: EmbeddedPostgres
) -> None:
    """Calls, consent, resumes, new sessions and blocks go on; the rest says 503; then everything is written, once."""
    await migrate(private_postgres.url)
    deployment = await deploy(
        "serve --workers 2", "matchmaker", "worker", config=CONFIG, MINUET_DATABASE_URL=private_postgres.url
    )
    crew = Crew(deployment.of("serve"), people.http)
    calls = []
    for _ in range(2):
        her, him = await people.online(crew.url, "female"), await people.online(crew.url, "male")
        call_id = await meet(her, him)
        await begin(her, him, call_id)
        calls.append((her, him, call_id))
    (her, him, call_id), (blocking, blocked, ended_by_block) = calls
    clock = asyncio.get_running_loop()

    await private_postgres.kill()
    back_at = clock.time() + AWAY_S

    # What is under way goes on, and what only Redis has to know is done.
    await see(her, him, call_id)
    await him.drop()
    assert (await him.resume(him.account["access_token"]))["type"] == "session.resumed"
    reloaded = people.client(crew.url, device_id=her.device_id)
    ready = await reloaded.start(her.account["access_token"])
    assert ready["snapshot"]["call"]["call_id"] == call_id
    await blocking.request("safety.block", {"call_id": ended_by_block})
    assert (await blocked.wait_for("call.ended", call_id=ended_by_block))["reason"] == "hangup"

    # What cannot be had says so, and when to come back.
    status, body, retry = await get(people, her, crew.url, "/history/interactions")
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert int(str(retry)) >= 1
    with pytest.raises(RequestRefused) as caught:
        await blocked.request("queue.join", {"intent": "dating", "preferences": {}})
    assert (caught.value.code, caught.value.data["retryable"]) == ("unavailable", True)

    # Nobody is sent away for it: balancers go on, operators see it.
    assert (await crew.readiness())[0] == 200
    assert (await crew.readiness("?strict=1"))[0] == 503
    # Not even a worker that dies now takes the others with it, though nothing can start at the moment.
    dying = (await crew.workers())[1]["pid"]
    os.kill(dying, signal.SIGKILL)
    pair = []
    for client in (her, him):
        # Half of all have lost their worker and come back; where to, they need not know.
        again = people.client(crew.url, device_id=client.device_id)
        again.account = client.account
        ready = await again.start(client.account["access_token"])
        assert ready["snapshot"]["call"]["call_id"] == call_id
        pair.append(again)
    for client in pair:
        await client.request("call.media", {"call_id": call_id, "state": "connected"})
    await asyncio.sleep(max(0.0, back_at - clock.time()))
    assert crew.process.child.returncode is None
    assert (await crew.readiness())[0] == 200

    await private_postgres.start()
    await crew.until(lambda workers: all(worker["state"] == "serving" for worker in workers))
    await part(pair[0], pair[1], call_id)

    for client, wanted in ((pair[0], call_id), (pair[1], call_id), (blocked, ended_by_block)):
        async with asyncio.timeout(LATE_S):
            while True:
                status, body, _ = await get(people, client, crew.url, "/history/interactions")
                if status == 200 and body["data"]:
                    break
                await asyncio.sleep(0.2)
        assert [entry["call_id"] for entry in body["data"]] == [wanted]
    async with asyncio.timeout(LATE_S):
        while not (await get(people, blocking, crew.url, "/blocks"))[1].get("data"):
            await asyncio.sleep(0.2)
