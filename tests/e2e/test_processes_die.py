"""Processes and servers die under people who queue, talk and leave: what they see of it, and what is kept."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from loadtests.swarm.client import Client, Message, RequestRefused
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from minuet.embedded.processes import children_of, name_of
from tests.e2e.scripted import Pair, match, pair_up
from tests.e2e.waiting import history, metrics, until
from tests.fixtures.deployment import Deploy, Deployment, People, Process
from tests.fixtures.patience import patiently

pytestmark = pytest.mark.e2e

CALL_S = 8.0
DECIDING_S = 2.0
CONFIG = f"""
[intents.dating]
proposed_s = 60
connecting_s = 60
call_seconds = {CALL_S}
decide_after_s = 0
deciding_s = {DECIDING_S}
reconnecting_s = 30
recent_partner_s = 0
[intents.friends]
proposed_s = 120
connecting_s = 120
"""
TAKEOVER_MS = 3_000
# On a machine that is busy with other things, a process may get its turn that much later.
BUSY_MS = 10_000
PATIENCE_S = 60.0
# Calls in which things are done one after the other, however long each takes; they end when somebody ends them.
LONG_CALLS = CONFIG.replace(f"call_seconds = {CALL_S}", "call_seconds = 300").replace(
    f"deciding_s = {DECIDING_S}", "deciding_s = 120"
)


async def test_matching_goes_on_when_matchmakers_are_killed(deploy: Deploy, people: People) -> None:
    """The pool's owner dies twice while people join: everybody gets a partner within seconds, nobody gets two."""
    deployment = await deploy("serve", "matchmaker", "matchmaker", "matchmaker", config=CONFIG)
    crowd = [
        await people.online(deployment.url, ("female", "male")[n % 2], codec=("json", "msgpack")[n % 2])
        for n in range(36)
    ]
    found: Counter[str] = Counter()
    for person in crowd:
        person.handlers["match.found"] = lambda data: found.update([data["call_id"]])
    waits_ms = []

    for batch in (crowd[:12], crowd[12:24], crowd[24:]):
        owner = await until(lambda: pool_owner(people.http, deployment, "friends"), PATIENCE_S)
        joins = [person.request("queue.join", {"intent": "friends"}) for person in batch]
        begun_at = time.time_ns() // 1_000_000
        if batch[0] is crowd[0]:
            await asyncio.gather(*joins)
        else:
            await asyncio.gather(*joins[:6], owner.kill(), *joins[6:])
        matches = await asyncio.gather(*(person.wait_for("match.found", PATIENCE_S) for person in batch))
        waits_ms.append(max(message["server_now"] for message in matches) - begun_at)
        for person, message in zip(batch, matches, strict=True):
            await person.request("call.accept", {"call_id": message["call_id"]})

    for person in crowd:
        await person.wait_for("call.state", state="connecting")
    assert sorted(found.values()) == [2] * (len(crowd) // 2), "one match for each, two people in each"
    seen = {message["type"] for person in crowd for message in person.inbox}
    assert not seen & {"match.found", "call.ended"}
    assert max(waits_ms) <= TAKEOVER_MS + BUSY_MS, waits_ms


async def pool_owner(http: aiohttp.ClientSession, deployment: Deployment, intent: str) -> Process | None:
    """The living matchmaker that owns a pool."""
    for process in deployment.processes:
        if process.role == "matchmaker" and process.child.returncode is None:
            samples = await metrics(http, process.admin)
            if samples.get(f'minuet_pool_owner{{intent="{intent}"}}') == 1:
                return process
    return None


async def test_a_killed_recorder_loses_and_doubles_nothing(deploy: Deploy, people: People) -> None:
    """The worker dies while calls end; its successor brings each of them into history, once."""
    deployment = await deploy("serve", "matchmaker", "worker", config=LONG_CALLS)
    pairs = []
    for _ in range(8):
        pairs.append(await pair_up(people, deployment.url))
        await pairs[-1].talk()

    for pair in pairs[:4]:
        await hang_up(pair)
    await asyncio.gather(deployment.of("worker").kill(), *(hang_up(pair) for pair in pairs[4:]))
    await deployment.start("worker")

    for pair in pairs:
        for side in pair.both:
            rows = await history(people.http, deployment.url, side.account, at_least=1)
            assert [row["call_id"] for row in rows] == [pair.call_id]


async def hang_up(pair: Pair) -> None:
    """He leaves, she decides against him: the call is over."""
    await pair.him.request("call.hangup", pair.call)
    await pair.her.request("connect.pass", pair.call)


async def test_a_call_ends_in_time_though_its_hub_was_killed(deploy: Deploy, people: People) -> None:
    """All lose their hub: the clock ends the call all the same, history has it once, and everybody may queue again."""
    deployment = await deploy("serve", "matchmaker", "worker", config=CONFIG)
    waiting = await people.online(deployment.url, "other")
    await waiting.request("queue.join", {"intent": "friends"})
    pair = await pair_up(people, deployment.url)
    ends_at = await pair.talk()

    await deployment.of("serve").kill()
    successor = await deployment.start("serve")
    back = people.client(successor.public, device_id=waiting.device_id)
    await back.start(waiting.account["access_token"])
    newcomer = await people.online(successor.public, "other")
    await match(back, newcomer, "friends", {})
    rows = [
        await history(people.http, successor.public, side.account, at_least=1, timeout_s=PATIENCE_S)
        for side in pair.both
    ]
    again = []
    for side in pair.both:
        client = people.client(successor.public, device_id=side.device_id)
        ready = await client.start(side.account["access_token"])
        assert ready["snapshot"]["call"] is None
        again.append(client)
    second = await match(again[0], again[1], "dating", {})

    for side_rows in rows:
        assert [row["call_id"] for row in side_rows] == [pair.call_id]
        assert side_rows[0]["reason"] == "completed"
        late_ms = side_rows[0]["ended_at"] - (ends_at + DECIDING_S * 1000)
        assert 0 <= late_ms <= 2_000 + BUSY_MS, "each of the two timers within a second"
    assert second.call_id != pair.call_id


async def test_history_waits_for_a_database_that_is_away(
    private_postgres: EmbeddedPostgres, deploy: Deploy, people: People
) -> None:
    """PostgreSQL is gone while calls run and end: they neither break nor get lost, and a connection is made later."""
    deployment = await deploy(config=LONG_CALLS, MINUET_DATABASE_URL=private_postgres.url)
    await deployment.run("migrate", "up")
    await deployment.start_all("serve", "matchmaker", "worker")
    connected, parted = [await pair_up(people, deployment.url) for _ in range(2)]
    for pair in (connected, parted):
        await pair.talk()

    await private_postgres.kill()
    assert await connected.her.request("connect.request", connected.call) == {
        "connected": True,
        "pending": True,
    }
    await parted.negotiate(parted.him, parted.her, 1)
    await connected.him.request("call.hangup", connected.call)
    await hang_up(parted)
    for side in (*connected.both, *parted.both):
        await side.wait_for("call.ended", PATIENCE_S)
    async with people.http.get(
        f"{deployment.url}/api/v1/history/interactions",
        headers={"Authorization": f"Bearer {parted.her.account['access_token']}"},
    ) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
    await private_postgres.start()
    made = [await side.wait_for("connection.made", PATIENCE_S) for side in connected.both]

    assert made[0]["connection_id"] == made[1]["connection_id"]
    for pair, connection_id in ((connected, made[0]["connection_id"]), (parted, None)):
        for side in pair.both:
            rows = await history(people.http, deployment.url, side.account, at_least=1, timeout_s=PATIENCE_S)
            assert [(row["call_id"], row.get("connection_id")) for row in rows] == [
                (pair.call_id, connection_id)
            ]


async def test_two_seconds_without_redis_throw_nobody_out(
    private_valkey: EmbeddedValkey, deploy: Deploy, people: People
) -> None:
    """Relays and goodbyes go on, what needs the store is refused with `unavailable` for a while, then all is well."""
    # The call whose clock runs out has an intent of its own: in the others all has to be done that is done here.
    config = f"{LONG_CALLS}call_seconds = {CALL_S}\ndecide_after_s = 0\ndeciding_s = 120\n"
    deployment = await deploy(
        "serve", "matchmaker", "worker", config=config, MINUET_REDIS_URL=private_valkey.url
    )
    staying, leaving = [await pair_up(people, deployment.url) for _ in range(2)]
    waiting = await people.online(deployment.url)
    short = await pair_up(people, deployment.url, "friends")
    for pair in (staying, leaving):
        await pair.talk()
    ends_at = await short.talk()

    private_valkey.pause()
    slow = asyncio.create_task(patiently(waiting, "queue.join", {"intent": "dating"}))
    # Nothing but memory is between two people of one hub.
    await staying.negotiate(staying.him, staying.her, 1)
    private_valkey.resume()
    await slow
    await patiently(waiting, "queue.leave")

    await private_valkey.kill()
    codes = [await refusal(staying.him, "video.request", staying.call)]
    await staying.negotiate(staying.her, staying.him, 2)
    codes.append(await refusal(waiting, "queue.join", {"intent": "dating"}))
    await leaving.him.request("call.hangup", leaving.call)
    codes.append(await refusal(staying.him, "call.extend", staying.call))
    await asyncio.sleep(2)
    await staying.negotiate(staying.him, staying.her, 2)
    await private_valkey.start()
    back_at = time.time_ns() // 1_000_000

    assert [(code["code"], code["retryable"]) for code in codes] == [("unavailable", True)] * 3
    await patiently(staying.him, "video.request", staying.call)
    await patiently(waiting, "queue.join", {"intent": "dating"})
    await staying.her.wait_for("video.requested", **staying.call)
    over = await short.her.wait_for("call.state", PATIENCE_S, **short.call, state="deciding")
    assert over["server_now"] >= ends_at
    assert over["server_now"] <= max(ends_at, back_at) + 1_000 + BUSY_MS
    await leaving.her.wait_for("call.state", PATIENCE_S, **leaving.call, state="deciding")
    await patiently(staying.him, "call.hangup", staying.call)
    for pair in (staying, leaving, short):
        await patiently(pair.her, "connect.pass", pair.call)
    for pair in (staying, leaving, short):
        for side in pair.both:
            await side.wait_for("call.ended", **pair.call)
            rows = await history(people.http, deployment.url, side.account, at_least=1)
            assert [row["call_id"] for row in rows] == [pair.call_id]
    await waiting.request("queue.leave")


async def refusal(client: Client, type_: str, data: Message) -> Message:
    """The `data` of the error that a request is answered with."""
    with pytest.raises(RequestRefused) as caught:
        await client.request(type_, data)
    return dict(caught.value.data)


async def test_a_hub_that_stops_sends_its_people_to_the_next(deploy: Deploy, people: People) -> None:
    """SIGTERM in a call between two hubs: she hears `session.drain` and 4001, and finds her call again on the other."""
    # Long enough to move in, and for a clock that begins anew to be told from one that runs on.
    config = CONFIG.replace(f"call_seconds = {CALL_S}", "call_seconds = 24")
    deployment = await deploy("serve", "serve", "matchmaker", "worker", config=config)
    leaving, staying = [process for process in deployment.processes if process.role == "serve"]
    her = await people.online(leaving.public, "female")
    him = await people.online(staying.public, "male", codec="msgpack")
    pair = await match(her, him, "dating", {})
    ends_at = await pair.talk()

    stopping = asyncio.create_task(leaving.stop())
    drained = await her.wait_for("session.drain")
    assert drained["reconnect_after_ms"] >= 0
    assert await her.wait_closed() == 4001
    assert await stopping == 0
    await him.wait_for("call.state", **pair.call, state="reconnecting")
    moved = people.client(staying.public, device_id=her.device_id)
    ready = await moved.start(her.account["access_token"])
    assert ready["snapshot"]["call"]["call_id"] == pair.call_id
    here = Pair(moved, him, pair.call_id)
    await here.negotiate(moved, him, 2)
    ends_as_before = await here.go_live() == ends_at
    over = await moved.wait_for("call.state", PATIENCE_S, **pair.call, state="deciding")

    assert ends_as_before, "the clock ran on"
    assert 0 <= over["server_now"] - ends_at <= 1_000 + BUSY_MS


async def test_ctrl_c_of_dev_leaves_no_process(tmp_path: Path, people: People) -> None:
    """`minuet dev` with its own servers: one Ctrl-C, and nothing of it is left."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "minuet", "dev"),
        env={
            **inherited,
            "MINUET_STATE_DIR": str(tmp_path / "state"),
            "MINUET_PORT": "0",
            "MINUET_ADMIN_PORT": "0",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=(tmp_path / "dev.log").open("wb"),
        start_new_session=True,
    )
    try:
        url = await demo_url(child)
        her = await people.online(url)
        mine = family_of(child.pid)
        assert len(mine) >= 3, "Minuet, Valkey and PostgreSQL"
        # A terminal sends Ctrl-C to all of its foreground processes, not only to Minuet.
        os.killpg(child.pid, signal.SIGINT)
        assert await her.wait_closed() == 4001
        async with asyncio.timeout(PATIENCE_S):
            status = await child.wait()
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)

    assert status == 0

    async def nobody_is_left() -> bool | None:
        return not any(map(name_of, mine)) or None

    await until(nobody_is_left, PATIENCE_S)


async def demo_url(child: asyncio.subprocess.Process) -> str:
    """The address that the welcome prints."""
    assert child.stdout is not None
    async with asyncio.timeout(2 * PATIENCE_S):
        async for line in child.stdout:
            words = line.decode().split()
            if words[:1] == ["demo"]:
                return words[1].rstrip("/")
    raise RuntimeError("minuet dev ended at its start")


def family_of(pid: int) -> set[int]:
    """A process and all its descendants, whichever groups those have made for themselves."""
    return {pid}.union(*(family_of(child) for child in children_of(pid)))
