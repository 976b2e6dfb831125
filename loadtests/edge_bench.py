"""Compare the socket edge with aiohttp's own WebSockets: CPU per relayed message, memory per idle connection, connects.

    python -m loadtests.edge_bench            three rounds, about two minutes
    python -m loadtests.edge_bench --quick    one short round, under 20 s

Each server runs in a process of its own on core 0, the clients on core 1 (Linux). What counts is the CPU time that
the kernel charges to the server, user and system, per delivered message: it survives a machine that others use
too. Both servers decode and encode every message with orjson, both on uvloop, both with the collector tuned alike.
"""

import argparse
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from loadtests.edge.load import Relayed, Swarm
from loadtests.edge.server_process import running_server
from loadtests.edge.targets import AIOHTTP, EDGE, ICE, SDP, SIZES, Target

SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    rounds: int
    slices: int
    slice_s: float
    pairs: int
    idle: int


FULL = Plan(rounds=3, slices=12, slice_s=0.5, pairs=500, idle=4000)
QUICK = Plan(rounds=1, slices=4, slice_s=0.3, pairs=200, idle=1000)


@dataclass(slots=True)
class Results:
    """What was seen of one server; a figure of the table is a median where it does not say otherwise."""

    target: Target
    idle_kb: list[float] = field(default_factory=list)
    connects_per_s: list[float] = field(default_factory=list)
    connect_cpu_us: list[float] = field(default_factory=list)
    relayed: dict[str, list[Relayed]] = field(default_factory=lambda: {ICE: [], SDP: []})

    def rows(self) -> dict[str, float]:
        """Every figure by its name, in the order of the table."""
        figures: dict[str, float] = {}
        for kind, runs in self.relayed.items():
            size = SIZES[kind]
            # On a machine that others keep busy, a whole slice may pass without a message.
            cpu_us = [run.cpu_s / run.messages * 1e6 for run in runs if run.messages]
            figures[f"{kind} ({size} B): CPU us per message"] = median(cpu_us)
            # Other programs cost the server its caches, so they only ever add: the lowest is nearest to alone.
            figures[f"{kind} ({size} B): the same, lowest slice"] = min(cpu_us)
            figures[f"{kind} ({size} B): messages/s"] = median(run.messages / run.seconds for run in runs)
        figures["KB per idle connection"] = median(self.idle_kb)
        figures["connects/s"] = median(self.connects_per_s)
        figures["CPU us per connect"] = median(self.connect_cpu_us)
        return figures


def measure_connects(results: Results, plan: Plan) -> None:
    """Start the server anew, open many connections, and see what they took."""
    with running_server(results.target, SERVER_CORE) as server:
        # What a server makes once only, and the first growth of its heap, is not charged to a connection.
        warm = Swarm(results.target, server.port)
        warm.connect(300)
        time.sleep(0.3)
        resident, usage, began = server.resident_bytes(), server.usage(), time.monotonic()
        idle = Swarm(results.target, server.port)
        idle.connect(plan.idle)
        results.connects_per_s.append(plan.idle / (time.monotonic() - began))
        time.sleep(0.5)
        results.connect_cpu_us.append((server.usage().cpu_s - usage.cpu_s) / plan.idle * 1e6)
        results.idle_kb.append((server.resident_bytes() - resident) / plan.idle / 1024)
        idle.close()
        warm.close()


def measure_relays(all_results: list[Results], plan: Plan) -> None:
    """Start all servers, and let them relay by turns, in slices: what disturbs the machine disturbs all alike."""
    with ExitStack() as running:
        swarms = []
        for results in all_results:
            server = running.enter_context(running_server(results.target, SERVER_CORE))
            swarm = Swarm(results.target, server.port)
            running.callback(swarm.close)
            swarm.connect(plan.pairs * 2)
            swarm.pair_up()
            swarms.append((results, swarm, server))
        for _ in range(plan.slices):
            for kind in (ICE, SDP):
                for results, swarm, server in swarms:
                    results.relayed[kind].append(swarm.relay(kind, plan.slice_s, server.usage))


def table(ours: Results, others: Iterable[Results]) -> str:
    """One row per figure, one column per server, and our ratio to each other."""
    columns = [ours, *others]
    lines = [
        "| | "
        + " | ".join(results.target.name for results in columns)
        + " |"
        + " ratio |" * (len(columns) - 1),
        "| --- |" + " ---: |" * (2 * len(columns) - 1),
    ]
    figures = [results.rows() for results in columns]
    for name in figures[0]:
        values = [f"{row[name]:,.0f}" if row[name] >= 1000 else f"{row[name]:.2f}" for row in figures]
        ratios = [f"{figures[0][name] / row[name]:.2f}" for row in figures[1:]]
        lines.append("| " + " | ".join([name, *values, *ratios]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    plan = QUICK if parser.parse_args().quick else FULL
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        raise SystemExit("needs Linux (epoll, /proc) and two cores")
    _allow_descriptors(plan.idle + 1000)
    os.sched_setaffinity(0, {CLIENT_CORE})
    gc.disable()

    results = [Results(EDGE), Results(AIOHTTP)]
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
        for result in results:
            measure_connects(result, plan)
        measure_relays(results, plan)
    print(
        f"Python {platform.python_version()}, aiohttp {version('aiohttp')}, uvloop {version('uvloop')}, "
        f"orjson {version('orjson')}; {plan.pairs} pairs, {plan.idle} idle connections; medians of {plan.rounds} "
        f"round{'s' * (plan.rounds > 1)} of {plan.slices} slices\n"
    )
    print(table(results[0], results[1:]))
    print(f"\n{disturbance(results)}")


def disturbance(all_results: list[Results]) -> str:
    """How far the figures can be trusted."""
    runs = [run for results in all_results for slices in results.relayed.values() for run in slices]
    waited = median(run.waited_s / run.seconds for run in runs)
    idle = [
        f"{results.target.name} {median(run.idle_share for slices in results.relayed.values() for run in slices):.0%}"
        for results in all_results
    ]
    return (
        f"The servers waited for their core, taken by other programs, {waited:.0%} of the time.\n"
        f"Polls that found nothing for the clients to do (near 0 % they would be the bottleneck): {', '.join(idle)}."
    )


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


if __name__ == "__main__":
    main()
