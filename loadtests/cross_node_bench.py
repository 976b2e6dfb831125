"""What a relay between two nodes costs, beside one within a node, and beside other relays, in one run.

    python -m loadtests.cross_node_bench                 all that are installed, about four minutes
    python -m loadtests.cross_node_bench --quick         one short round
    python -m loadtests.cross_node_bench --targets hub   the hub alone

Of each server two processes stand on one Valkey; two hubs have a matchmaker beside them, and PostgreSQL. Of some pairs one is on
each process, so that all they relay goes through Valkey; the other pairs sit together, half of them on each process. All relay by
turns, in slices, with one message of each pair on its way: what disturbs the machine disturbs all alike. Then at a steady rate,
where a bus has little to put together. The others (`loadtests/peers`) pass on and know nothing else, as in `relay_bench`.

The servers and Valkey run on core 0, the clients, which spin, on core 1 (Linux). What counts is the CPU time that the kernel
charges to both processes of a server together, user and system, per delivered message; Valkey's is a row of its own.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

from loadtests.edge.server_process import ServerProcess, Usage
from loadtests.edge.targets import ICE, SDP, SIZES
from loadtests.hub.processes import SERVER_CORE, cpu_seconds, prepare, running_part
from loadtests.hub.swarm import Client, Relayed, Swarm
from loadtests.hub.talk import CANDIDATES_PER_NEGOTIATION
from loadtests.hub.world import World, opened_world
from loadtests.relay.targets import AIOHTTP, HUB, SOCKET_IO, WS, Target, chosen

TOGETHER: Final = "one node"
APART: Final = "two nodes"
TARGETS: Final[dict[str, Target]] = {"hub": HUB, "aiohttp": AIOHTTP, "ws": WS, "socket.io": SOCKET_IO}
GOALS: Final[dict[Target, float]] = {AIOHTTP: 0.11, WS: 0.55, SOCKET_IO: 0.22}
"""What a candidate between two hubs is meant to cost at most, of what it costs between two of the others."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done. Each pair relays so many descriptions in a slice; even."""

    pairs: int
    slices: int
    descriptions: int
    paced_per_s: int
    paced: int
    """Messages of a slice at a steady rate."""

    @property
    def people(self) -> int:
        return self.pairs * 4


FULL: Final = Plan(pairs=100, slices=8, descriptions=20, paced_per_s=2_000, paced=4_000)
QUICK: Final = Plan(pairs=40, slices=2, descriptions=10, paced_per_s=1_000, paced=1_000)


@dataclass(slots=True)
class Seen:
    """What was seen of one kind of pairs."""

    relayed: dict[str, list[Relayed]] = field(default_factory=lambda: {ICE: [], SDP: []})
    paced: list[Relayed] = field(default_factory=list)
    valkey_us: list[float] = field(default_factory=list)

    def rows(self, plan: Plan) -> dict[str, float]:
        """Every figure by its name; medians of the slices."""
        rows = {}
        for kind, runs in self.relayed.items():
            name = f"{kind} ({SIZES[kind]:,} B)"
            rows[f"{name}: CPU us per message"] = median(map(_cost_us, runs))
            rows[f"{name}: the same, lowest slice"] = min(map(_cost_us, runs))
        steady = f"ICE at {plan.paced_per_s:,}/s"
        rows[f"{steady}: CPU us per message"] = median(map(_cost_us, self.paced))
        rows[f"{steady}: Valkey's CPU us per message"] = median(self.valkey_us)
        for name, per_cent in (("p50", 50), ("p99", 99)):
            rows[f"{steady}: {name} ms"] = median(
                quantiles(run.latencies_ms, n=100)[per_cent - 1] for run in self.paced
            )
        return rows


class Deployment:
    """Two processes of one server, and the pairs of both kinds, relaying."""

    def __init__(self, target: Target, nodes: Sequence[ServerProcess], world: World, plan: Plan) -> None:
        self.target = target
        self._nodes = nodes
        self._world = world
        self._plan = plan
        self.seen = {TOGETHER: Seen(), APART: Seen()}
        one, two = nodes
        # Women and men come by turns, and only they are paired: she and he on the same process, or never.
        self.swarms = {TOGETHER: target.swarm(one, one, two, two), APART: target.swarm(one, two)}

    def connect(self) -> None:
        """Leads everybody to where they relay."""
        half = self._plan.people // 2
        people = self._world.people
        # Two at a time: nobody else waits whom they could be paired with.
        self.swarms[TOGETHER].connect(self.target.talks(people[:half], meets=True), at_once=2)
        self.swarms[APART].connect(self.target.talks(people[half : self._plan.people], meets=True))
        for swarm in self.swarms.values():
            swarm.pair_up()
        if self.crossings(TOGETHER) or self.crossings(APART) != self._plan.pairs:
            raise RuntimeError("people were paired otherwise than the measurement needs")

    def crossings(self, name: str) -> int:
        """How many pairs of a kind have their two on different processes."""
        return sum(_port(client) != _port(client.partner) for client in self.swarms[name].clients) // 2

    def exchange(self, kind: str, per_pair: int, others: Sequence[Swarm], *, warm: bool) -> None:
        """One slice of each kind of pairs; one that warms up is not counted."""
        for name, swarm in self.swarms.items():
            run = swarm.exchange(kind, per_pair, self._usage, [one for one in others if one is not swarm])
            if not warm:
                self.seen[name].relayed[kind].append(run)

    def pace(self, others: Sequence[Swarm], *, warm: bool) -> None:
        """One slice at a steady rate of each kind of pairs."""
        plan = self._plan
        count = min(plan.paced, plan.pairs * 2 * CANDIDATES_PER_NEGOTIATION)
        for name, swarm in self.swarms.items():
            for other in others:
                other.attend()
            # Candidates need a fresh negotiation.
            swarm.exchange(SDP, 2, self._usage)
            before = cpu_seconds(self._world.valkey_pid)
            run = swarm.pace(ICE, plan.paced_per_s, count, self._usage)
            if not warm:
                seen = self.seen[name]
                seen.paced.append(run)
                seen.valkey_us.append((cpu_seconds(self._world.valkey_pid) - before) / count * 1e6)

    def close(self) -> None:
        for swarm in self.swarms.values():
            swarm.close()

    def _usage(self) -> Usage:
        usages = [node.usage() for node in self._nodes]
        return Usage(sum(one.cpu_s for one in usages), sum(one.waited_s for one in usages))


def measure(deployments: Sequence[Deployment], plan: Plan) -> None:
    """All slices, and one before them that warms up."""
    swarms = [swarm for deployment in deployments for swarm in deployment.swarms.values()]
    for number in range(plan.slices + 1):
        for kind, per_pair in ((SDP, plan.descriptions), (ICE, CANDIDATES_PER_NEGOTIATION)):
            for deployment in deployments:
                deployment.exchange(kind, per_pair, swarms, warm=not number)
        for deployment in deployments:
            deployment.pace(swarms, warm=not number)


def _port(client: Client) -> int:
    port: int = client.sock.getpeername()[1]
    return port


def _cost_us(run: Relayed) -> float:
    return run.cpu_s / run.messages * 1e6


@contextmanager
def two_nodes(target: Target, world: World) -> Iterator[list[ServerProcess]]:
    """Starts two processes of a server, and what else it needs."""

    def one() -> AbstractContextManager[ServerProcess]:
        if target is HUB:
            return running_part("hub", SERVER_CORE, world.environment)
        return target.running(world, f"{target.name}:")

    with ExitStack() as started:
        if target is HUB:
            started.enter_context(running_part("matchmaker", None, world.environment))
        yield [started.enter_context(one()) for _ in range(2)]


@contextmanager
def opened_bench(targets: Sequence[Target], world: World, plan: Plan) -> Iterator[list[Deployment]]:
    """Starts all servers, and leads everybody to where they relay."""
    with ExitStack() as started:
        # Between two processes it has a part in the delay, and must not wait for clients that spin.
        os.sched_setaffinity(world.valkey_pid, {SERVER_CORE})
        deployments = []
        for target in targets:
            nodes = started.enter_context(two_nodes(target, world))
            deployment = Deployment(target, nodes, world, plan)
            started.callback(deployment.close)
            deployment.connect()
            deployments.append(deployment)
        yield deployments


def report(deployments: Sequence[Deployment], plan: Plan) -> str:
    """The tables, and under what conditions they came about."""
    lines = [
        f"Python {platform.python_version()}, Linux {platform.release()}; {plan.pairs} pairs of each kind, two processes "
        f"of each server on one core; medians of {plan.slices} slices",
        *(f"{one.target.name}: {one.target.versions()}" for one in deployments),
    ]
    for one in deployments:
        together, apart = (one.seen[name].rows(plan) for name in (TOGETHER, APART))
        lines += ["", f"| {one.target.name} | {TOGETHER} | {APART} | ratio |", "| --- | ---: | ---: | ---: |"]
        lines += [
            f"| {row} | {value:.2f} | {apart[row]:.2f} | {_ratio(apart[row], value)} |"
            for row, value in together.items()
        ]
    return "\n".join([*lines, "", *_goals(deployments, plan), *_disturbance(deployments)])


def _goals(deployments: Sequence[Deployment], plan: Plan) -> list[str]:
    """The hub's ratio to the others between two nodes; where a goal is set, whether it is reached."""
    apart = {one.target: one.seen[APART].rows(plan) for one in deployments}
    ours = apart.pop(HUB, None)
    if ours is None or not apart:
        return []
    lines = [
        f"| {HUB.name} to, between two nodes | {' | '.join(target.name for target in apart)} |",
        "| --- |" + " ---: |" * len(apart),
    ]
    for row, value in ours.items():
        cells = [_ratio(value, theirs[row]) for theirs in apart.values()]
        if row == f"{ICE} ({SIZES[ICE]:,} B): CPU us per message":
            goals = [GOALS[target] for target in apart]
            cells = [
                f"{cell} (<= {goal:g}: {'reached' if float(cell) <= goal else 'missed'})"
                for cell, goal in zip(cells, goals, strict=True)
            ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return [*lines, ""]


def _disturbance(deployments: Sequence[Deployment]) -> Iterator[str]:
    for deployment in deployments:
        for name, one in deployment.seen.items():
            runs = [run for kind in one.relayed.values() for run in kind]
            waited = median(run.waited_s / run.seconds for run in runs)
            idle = median(run.idle_share for run in runs)
            yield (
                f"{deployment.target.name}, {name}: waited for its core {waited:.0%} of the time, "
                f"polls without work {idle:.0%}"
            )


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}" if other else "-"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    parser.add_argument(
        "--targets", default=",".join(TARGETS), metavar="NAMES", help=f"of {', '.join(TARGETS)}"
    )
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    targets = chosen(options.targets, TARGETS)
    with opened_world(plan.people) as world:
        prepare(plan.people * len(targets))
        with opened_bench(targets, world, plan) as deployments:
            print("everybody is in a call", file=sys.stderr, flush=True)
            measure(deployments, plan)
            print(report(deployments, plan))


if __name__ == "__main__":
    main()
