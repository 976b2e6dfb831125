"""What she takes back reaches his node, whatever becomes of the message that says so, and of the process that sent it.

Two hubs, a matchmaker and a worker in processes of their own; each person on a hub of their own.
"""

import asyncio
import os
import signal
from dataclasses import dataclass

from redis.asyncio import Redis

from loadtests.swarm.client import Message
from signaling.call.record import decode
from storage.redis.client import connect
from storage.redis.keys import Keys
from tests.e2e.scripted import Pair, match
from tests.fixtures.deployment import Deploy, Deployment, People, Process

CONFIG = """
[intents.dating]
call_seconds = 60
ip_privacy = "off"
revoke_window_s = 30
reconnecting_s = 30
"""
PATIENCE_S = 15.0
"""It usually takes a second, a second and a half at most."""


@dataclass
class Scene:
    """A live call with video allowed both ways."""

    pair: Pair
    hers: Process
    his: Process
    worker: Process
    redis: Redis

    async def is_committed(self, allowed: bool) -> None:
        """Until the record says so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                payload = await self.redis.hget(Keys().call(self.pair.call_id), "payload")
                if payload is not None and decode(payload).a.video_allowed is allowed:
                    return
                await asyncio.sleep(0.002)


async def talking(deploy: Deploy, people: People, redis_url: str) -> Scene:
    deployment: Deployment = await deploy("serve", "serve", "matchmaker", "worker", config=CONFIG)
    hers, his = (process for process in deployment.processes if process.role == "serve")
    region = people.client(hers.public).device_id[:12]
    her = await people.online(hers.public, "female", region=region)
    him = await people.online(his.public, "male", codec="msgpack", region=region)
    pair = await match(her, him, "dating", {"regions": [region]})
    await pair.talk()
    scene = Scene(pair, hers, his, deployment.of("worker"), connect(redis_url))
    await allow(scene)
    return scene


async def allow(scene: Scene) -> None:
    await scene.pair.her.request("video.approve", {**scene.pair.call, "direction": "both"})
    await scene.pair.him.wait_for("video.allowed", PATIENCE_S)


async def told_again(people: People, process: Process) -> float:
    """How often a process has told a change once more."""
    async with people.http.get(f"{process.admin}/metrics") as response:
        text = await response.text()
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("minuet_call_told_again_total")
    )


async def hears(scene: Scene) -> tuple[Message, float]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    revoked = await scene.pair.him.wait_for("video.revoked", PATIENCE_S)
    return revoked, loop.time() - started


async def test_a_cut_subscription_loses_no_revocation(deploy: Deploy, people: People, redis_url: str) -> None:
    """Redis drops every subscriber at the moment of the commit, five times over."""
    scene = await talking(deploy, people, redis_url)
    waits = []
    for _ in range(5):
        revoking = asyncio.create_task(scene.pair.her.request("video.revoke", scene.pair.call))
        for _ in range(3):
            await scene.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.005)
        await revoking
        revoked, waited_s = await hears(scene)
        waits.append(round(waited_s, 2))
        assert revoked["video_allowed"] == {"a": False, "b": False}
        await allow(scene)
    await scene.redis.aclose()
    print("heard after", waits)


async def test_the_revocation_of_a_hub_that_died_with_its_commit_is_told(
    deploy: Deploy, people: People, redis_url: str
) -> None:
    """kill -9 right after the commit, and nobody is subscribed to what was published: a worker's sweep tells him."""
    scene = await talking(deploy, people, redis_url)
    before = await told_again(people, scene.worker)
    os.kill(scene.his.pid, signal.SIGSTOP)
    await scene.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await scene.pair.her.send("video.revoke", scene.pair.call, request_id=10_000)
    await scene.is_committed(False)
    await scene.hers.kill()
    os.kill(scene.his.pid, signal.SIGCONT)

    revoked, waited_s = await hears(scene)
    # It counts what it has told after that has left.
    async with asyncio.timeout(PATIENCE_S):
        while await told_again(people, scene.worker) == before:
            await asyncio.sleep(0.05)
    await scene.redis.aclose()

    assert revoked["video_allowed"] == {"a": False, "b": False}
    print("heard after", round(waited_s, 2))


async def test_a_hub_that_stood_still_hears_of_it_when_it_goes_on(
    deploy: Deploy, people: People, redis_url: str
) -> None:
    """SIGSTOP for a second and a half: shorter than a lease, longer than it takes to be told again."""
    scene = await talking(deploy, people, redis_url)
    os.kill(scene.his.pid, signal.SIGSTOP)
    await scene.pair.her.request("video.revoke", scene.pair.call)
    await asyncio.sleep(1.5)
    os.kill(scene.his.pid, signal.SIGCONT)

    revoked, waited_s = await hears(scene)
    await asyncio.sleep(1.0)
    repeated = [message for message in scene.pair.him.inbox if message["type"] == "video.revoked"]
    await scene.redis.aclose()

    assert revoked["video_allowed"] == {"a": False, "b": False}
    assert repeated == []
    print("heard after", round(waited_s, 2))
