"""What a relay between two nodes costs, beside one within a node, in one run.

    python -m loadtests.cross_node_bench            about two minutes
    python -m loadtests.cross_node_bench --quick    one short round

Two hub processes and a matchmaker stand on one Valkey and one PostgreSQL. Of some pairs one is on each hub, so that all they
relay goes over the bus; the other pairs sit together, half of them on each hub. Both kinds relay by turns, in slices, with one
message of each pair on its way: what disturbs the machine disturbs both alike. Then at a steady rate, where the bus has little
to put together.

Both hubs and Valkey run on core 0, the clients, which spin, on core 1 (Linux). What counts is the CPU time that the kernel
charges to both hubs together, user and system, per delivered message; Valkey's is a row of its own.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

from loadtests.edge.server_process import ServerProcess, Usage
from loadtests.edge.targets import ICE, SDP, SIZES
from loadtests.hub.processes import SERVER_CORE, cpu_seconds, prepare, running_part
from loadtests.hub.swarm import Client, Relayed, Swarm
from loadtests.hub.talk import CANDIDATES_PER_NEGOTIATION, HubTalk, Talk
from loadtests.hub.world import Account, World, opened_world

TOGETHER: Final = "one node"
APART: Final = "two nodes"


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


class Bench:
    """The pairs of both kinds, in calls, on hubs that run."""

    def __init__(self, world: World, hubs: Sequence[ServerProcess], plan: Plan) -> None:
        self._world = world
        self._hubs = hubs
        self._plan = plan
        self.seen = {TOGETHER: Seen(), APART: Seen()}
        first, second = (hub.port for hub in hubs)
        # Women and men come by turns, and only they are paired: she and he on the same hub, or never.
        self._swarms = {TOGETHER: Swarm(first, first, second, second), APART: Swarm(first, second)}

    def connect(self) -> None:
        """Leads everybody into a call."""
        half = self._plan.people // 2
        people = self._world.people
        # Two at a time: nobody else waits whom they could be paired with.
        self._swarms[TOGETHER].connect(_talks(people[:half]), at_once=2)
        self._swarms[APART].connect(_talks(people[half:]))
        for swarm in self._swarms.values():
            swarm.pair_up()
        if self.crossings(TOGETHER) or self.crossings(APART) != self._plan.pairs:
            raise RuntimeError("people were paired otherwise than the measurement needs")

    def measure(self) -> None:
        """All slices, and one before them that warms up."""
        plan = self._plan
        for number in range(plan.slices + 1):
            # Candidates need a fresh negotiation, so descriptions come first.
            for kind, per_pair in ((SDP, plan.descriptions), (ICE, CANDIDATES_PER_NEGOTIATION)):
                for name, swarm in self._swarms.items():
                    run = swarm.exchange(kind, per_pair, self._usage, self._others(name))
                    if number:
                        self.seen[name].relayed[kind].append(run)
            self._measure_steady(warm=not number)

    def crossings(self, name: str) -> int:
        """How many pairs of a kind have their two on different hubs."""
        return sum(_port(client) != _port(client.partner) for client in self._swarms[name].clients) // 2

    def close(self) -> None:
        for swarm in self._swarms.values():
            swarm.close()

    def _measure_steady(self, *, warm: bool) -> None:
        plan = self._plan
        count = min(plan.paced, plan.pairs * 2 * CANDIDATES_PER_NEGOTIATION)
        for name, swarm in self._swarms.items():
            for other in self._others(name):
                other.attend()
            swarm.exchange(SDP, 2, self._usage)
            before = cpu_seconds(self._world.valkey_pid)
            run = swarm.pace(ICE, plan.paced_per_s, count, self._usage)
            if not warm:
                seen = self.seen[name]
                seen.paced.append(run)
                seen.valkey_us.append((cpu_seconds(self._world.valkey_pid) - before) / count * 1e6)

    def _others(self, name: str) -> list[Swarm]:
        return [swarm for other, swarm in self._swarms.items() if other != name]

    def _usage(self) -> Usage:
        usages = [hub.usage() for hub in self._hubs]
        return Usage(sum(one.cpu_s for one in usages), sum(one.waited_s for one in usages))


def _talks(people: Sequence[Account]) -> list[Talk]:
    return [HubTalk(account, meets=True) for account in people]


def _port(client: Client) -> int:
    port: int = client.sock.getpeername()[1]
    return port


def _cost_us(run: Relayed) -> float:
    return run.cpu_s / run.messages * 1e6


@contextmanager
def opened_bench(world: World, plan: Plan) -> Iterator[Bench]:
    """Starts two hubs and a matchmaker, and leads everybody into a call."""
    with ExitStack() as started:
        started.enter_context(running_part("matchmaker", None, world.environment))
        hubs = [started.enter_context(running_part("hub", SERVER_CORE, world.environment)) for _ in range(2)]
        # Between two hubs it has a part in the delay, and must not wait for clients that spin.
        os.sched_setaffinity(world.valkey_pid, {SERVER_CORE})
        bench = Bench(world, hubs, plan)
        started.callback(bench.close)
        bench.connect()
        yield bench


def report(seen: dict[str, Seen], plan: Plan) -> str:
    """The table, and under what conditions it came about."""
    together, apart = (seen[name].rows(plan) for name in (TOGETHER, APART))
    lines = [
        f"Python {platform.python_version()}, Linux {platform.release()}; {plan.pairs} pairs of each kind, two hubs "
        f"on one core; medians of {plan.slices} slices",
        "",
        f"| | {TOGETHER} | {APART} | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row, value in together.items():
        lines.append(f"| {row} | {value:.2f} | {apart[row]:.2f} | {_ratio(apart[row], value)} |")
    lines.append("")
    for name, one in seen.items():
        runs = [run for kind in one.relayed.values() for run in kind]
        waited = median(run.waited_s / run.seconds for run in runs)
        idle = median(run.idle_share for run in runs)
        lines.append(
            f"{name}: hubs waited for their core {waited:.0%} of the time, polls without work {idle:.0%}"
        )
    return "\n".join(lines)


def _ratio(apart: float, together: float) -> str:
    return f"{apart / together:.2f}" if together else "-"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    plan = QUICK if parser.parse_args().quick else FULL
    with opened_world(plan.people) as world:
        prepare(plan.people)
        with opened_bench(world, plan) as bench:
            print("everybody is in a call", file=sys.stderr, flush=True)
            bench.measure()
            print(report(bench.seen, plan))


if __name__ == "__main__":
    main()
