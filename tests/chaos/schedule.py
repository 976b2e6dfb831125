"""Which faults a run makes, in which order: drawn from a seed, so that the same seed makes the same again.

A round has one fault of each group, in random order. Groups are made so that no round leaves out a kind of thing that
breaks: somebody dies, somebody stands still, Redis loses its data, is away, is hard to reach, and so on.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tests.chaos.deployment import Layout
from tests.chaos.faults import Fault
from tests.chaos.faults_load import Overload
from tests.chaos.faults_network import Cut, Refuse, Reset, Slow, Stall
from tests.chaos.faults_processes import KillProcess, PauseProcess
from tests.chaos.faults_stores import FlushRedis, KillRedis, LoseFailover, PauseRedis, StopPostgres

Draw = Callable[[random.Random, Layout], Fault]

ROLES = ("hub", "matchmaker", "worker")


def groups(layout: Layout, *, postgres_s: float) -> Mapping[str, Sequence[Draw]]:
    """What may break in this deployment, by group."""
    everywhere: dict[str, Sequence[Draw]] = {
        "a hub dies": [partial(KillProcess.draw, role="hub")],
        "another process dies": [partial(KillProcess.draw, role=role) for role in ROLES[1:]],
        "a process stands still": [partial(PauseProcess.draw, role=role) for role in (*ROLES, "hub")],
        "the database is away": [partial(StopPostgres.draw, seconds=postgres_s)],
        "all clients are cut": [Reset.of_clients],
        "far too many come": [Overload.draw],
        "the way to clients is bad": [Stall.of_clients, Cut.of_clients, Slow.of_clients, Refuse.of_clients],
    }
    if layout.cluster:
        return {**everywhere, "a failover loses writes": [LoseFailover.draw]}
    return {
        **everywhere,
        "Redis dies": [partial(KillRedis.draw, keeps_data=True)],
        "Redis loses its data": [partial(KillRedis.draw, keeps_data=False), FlushRedis.draw],
        "Redis is away": [PauseRedis.draw, Stall.of_redis, Stall.of_redis, Refuse.of_redis],
        "the way to Redis is bad": [Reset.of_redis, Cut.of_redis, Slow.of_redis],
    }


def draw(
    seed: int, layout: Layout, kinds: Mapping[str, Sequence[Draw]], *, rounds: int = 1
) -> Sequence[Fault]:
    """One fault of each group in each round; later rounds take the kinds of a group by turns."""
    rng = random.Random(f"{seed}:schedule")
    turns = {name: rng.sample(list(draws), len(draws)) for name, draws in kinds.items()}
    faults: list[Fault] = []
    for number in range(rounds):
        names = rng.sample(list(kinds), len(kinds))
        faults += [turns[name][number % len(turns[name])](rng, layout) for name in names]
    return faults
