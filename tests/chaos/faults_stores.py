"""Redis and PostgreSQL: they die, come back with what they knew or without, lose what they had acknowledged, stand still."""

import asyncio
import random
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from redis.exceptions import RedisError

from tests.chaos.deployment import CANARY, Layout, until
from tests.chaos.faults import Excuse, Facts, Scene, prove, remember, state_of, until_state
from tests.fixtures.cluster import Cluster, ClusterNode

RESTART_S = 30.0


@dataclass(frozen=True, slots=True)
class KillRedis:
    """kill -9 to Redis, which is started again: with its append-only file, or empty."""

    keeps_data: bool
    back_after_s: float

    @property
    def excuse(self) -> Excuse:
        # Also with its file: what it acknowledged in the last second may not have been written (appendfsync everysec).
        return Excuse(away=True, lossy=True, ends_sessions=True)

    @classmethod
    def draw(cls, rng: random.Random, _layout: Layout, *, keeps_data: bool) -> Self:
        return cls(keeps_data, round(rng.uniform(0.2, 2.5), 2))

    async def inject(self, scene: Scene) -> Facts:
        server = scene.deployment.valkey
        before = await remember(scene.deployment, secrets.token_hex(8))
        pid = server.pid
        assert pid is not None
        await server.kill()
        gone = state_of(pid)
        with suppress(RedisError, OSError):
            await remember(scene.deployment)
            prove(False, "Redis still answered")
        if not self.keeps_data:
            # The folder stays: only a folder that is not there makes the server take another password.
            shutil.rmtree(scene.deployment.folder / "redis" / "valkey" / "appendonlydir")
        await asyncio.sleep(self.back_after_s)
        await server.start()
        after = await remember(scene.deployment)

        prove(gone in ("", "Z"), f"Redis is still there: {gone!r}")
        prove(after.run_id != before.run_id, "it is the same Redis as before")
        prove(before.keys > 1, "there was nothing to lose")
        if self.keeps_data:
            prove(after.canary == before.canary, "Redis came back without its data")
        else:
            prove(after.canary is None, "Redis came back with its data")
        return {
            "killed": pid,
            "run_ids": [before.run_id[:8], after.run_id[:8]],
            "keys": [before.keys, after.keys],
            "canary_kept": after.canary == before.canary,
        }


@dataclass(frozen=True, slots=True)
class FlushRedis:
    """FLUSHALL, while everything runs: nobody is disconnected and nothing is there any more."""

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True, lossy=True, ends_sessions=True)

    @classmethod
    def draw(cls, _rng: random.Random, _layout: Layout) -> Self:
        return cls()

    async def inject(self, scene: Scene) -> Facts:
        async with scene.deployment.redis() as redis, redis.pipeline(transaction=True) as steps:
            # In one transaction: a moment later the first key is there again.
            steps.dbsize().flushall().dbsize()
            before, _, after = await steps.execute()

        prove(before > 1, "there was nothing to lose")
        prove(after == 0, f"{after} keys were left")
        return {"keys": [before, after]}


@dataclass(frozen=True, slots=True)
class PauseRedis:
    """SIGSTOP to Redis: its connections stay open and nobody answers."""

    seconds: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True, ends_sessions=True, alone=True)

    @classmethod
    def draw(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(round(rng.uniform(1.0, 6.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        server = scene.deployment.valkey
        pid = server.pid
        assert pid is not None
        server.pause()
        try:
            stopped = await until_state(pid, "T")
            await asyncio.sleep(self.seconds)
            still = state_of(pid)
        finally:
            server.resume()
        await remember(scene.deployment)

        prove(stopped == still == "T", f"Redis was in state {stopped!r}, then {still!r}")
        return {"paused": pid, "state": still}


@dataclass(frozen=True, slots=True)
class StopPostgres:
    """PostgreSQL is away: stopped in good order, or killed. Calls go on, and history waits."""

    seconds: float
    killed: bool

    @property
    def excuse(self) -> Excuse:
        return Excuse()

    @classmethod
    def draw(cls, rng: random.Random, _layout: Layout, *, seconds: float) -> Self:
        return cls(seconds, rng.random() < 0.5)

    async def inject(self, scene: Scene) -> Facts:
        server = scene.deployment.postgres
        pid = server.pid
        assert pid is not None
        answered = await scene.deployment.database_answers()
        if self.killed:
            await server.kill()
        else:
            await server.stop()
        gone, refused = state_of(pid), not await scene.deployment.database_answers()
        await asyncio.sleep(self.seconds)
        still_refused = not await scene.deployment.database_answers()
        await server.start()
        await until(scene.deployment.database_answers, RESTART_S, "PostgreSQL did not come back")

        prove(answered, "PostgreSQL did not answer before")
        prove(gone in ("", "Z"), f"the postmaster is still there: {gone!r}")
        prove(refused and still_refused, "PostgreSQL still answered")
        return {"postmaster": pid, "gone": True, "by": "kill -9" if self.killed else "stop", "refused": True}


@dataclass(frozen=True, slots=True)
class LoseFailover:
    """A primary of the cluster dies with writes that it acknowledged and its replica never had; the replica takes over."""

    primary: int
    unreplicated_s: float
    back_after_s: float

    @property
    def excuse(self) -> Excuse:
        return Excuse(away=True, lossy=True, ends_sessions=True)

    @classmethod
    def draw(cls, rng: random.Random, _layout: Layout) -> Self:
        return cls(rng.randrange(3), round(rng.uniform(0.5, 2.0), 2), round(rng.uniform(0.5, 2.0), 2))

    async def inject(self, scene: Scene) -> Facts:
        cluster = scene.deployment.cluster
        assert cluster is not None
        old = (await cluster.primaries())[self.primary]
        pid = old.pid
        assert pid is not None
        canary = await _key_of(cluster, old)
        async with cluster.unreplicated(old):
            await asyncio.sleep(self.unreplicated_s)
            acknowledged = await cluster.ask(old, "SET", canary, "acknowledged")
            new = await cluster.lose_acknowledged(old)
            gone = state_of(pid)
            kept = await cluster.ask(new, "EXISTS", canary)
        await asyncio.sleep(self.back_after_s)
        await cluster.restart(old)

        prove(acknowledged == b"OK", f"the write was not acknowledged: {acknowledged!r}")
        prove(gone in ("", "Z"), f"the old primary is still there: {gone!r}")
        prove(new.node_id != old.node_id, "nobody took over")
        prove(not kept, "the acknowledged write was not lost")
        return {"killed": pid, "new_primary": new.node_id[:8], "acknowledged_and_lost": canary}


async def _key_of(cluster: Cluster, primary: ClusterNode) -> str:
    """A key that this primary serves."""
    number = 0
    while (await cluster.primary_of(f"{CANARY}-{number}")).node_id != primary.node_id:
        number += 1
    return f"{CANARY}-{number}"
