"""Compare the whole hub with plain aiohttp that only passes on: CPU per relayed message, delay, memory, session starts.

    python -m loadtests.hub_bench            three rounds, about four minutes
    python -m loadtests.hub_bench --quick    one short round, about 30 s

The hub is all of Minuet in one process, as `minuet serve --all-in-one` runs it: tokens, presence, pair checks, the SDP
gate, limits, sequence numbers and metrics, the matchmaker and the worker beside them. Its pairs are people who queued,
were matched, accepted and said that their media flows. The other server decodes each message, numbers it, encodes it
for the peer, and knows nothing.

Each server runs on core 0, the clients on core 1, Valkey and PostgreSQL where there is room (Linux). What counts is the CPU time that the
kernel charges to the server's process, user and system, per delivered message: it survives a machine that others use
too. The hub also answers each message with `ok`, which is in its price.
"""

import argparse
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median, quantiles

from loadtests.edge.server_process import ServerProcess, running_server
from loadtests.edge.targets import AIOHTTP, ICE, SDP, SIZES
from loadtests.hub.processes import cpu_seconds, running_part
from loadtests.hub.swarm import Relayed, Swarm
from loadtests.hub.talk import CANDIDATES_PER_NEGOTIATION, HubTalk, PlainTalk, Talk
from loadtests.hub.world import Account, World, opened_world

SERVER_CORE, CLIENT_CORE = 0, 1
HUB, PLAIN = "Minuet's hub", "plain aiohttp"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    rounds: int
    slices: int
    pairs: int
    idle: int
    descriptions: int
    """Relayed by each pair in a slice; even."""
    paced_per_s: int = 5000
    paced_s: float = 3.0
    warm_up: int = 300
    """Sessions that come before those that are counted."""

    @property
    def people(self) -> int:
        return max(self.pairs * 2, self.idle + self.warm_up)


FULL = Plan(rounds=3, slices=8, pairs=400, idle=4000, descriptions=20)
QUICK = Plan(rounds=1, slices=2, pairs=200, idle=1000, descriptions=10, paced_s=1.0)


@dataclass(slots=True)
class Results:
    """What was seen of one server; every figure of the table is a median."""

    name: str
    relayed: dict[str, list[Relayed]] = field(default_factory=lambda: {ICE: [], SDP: []})
    paced: list[Relayed] = field(default_factory=list)
    idle_kb: list[float] = field(default_factory=list)
    starts_per_s: list[float] = field(default_factory=list)
    start_cpu_us: list[float] = field(default_factory=list)

    def rows(self) -> dict[str, float]:
        """Every figure by its name, in the order of the table."""
        figures: dict[str, float] = {}
        for kind, runs in self.relayed.items():
            per_message = median(run.cpu_s / run.messages for run in runs) * 1e6
            figures[f"{kind} ({SIZES[kind]} B): CPU us per message"] = per_message
            lowest = min(run.cpu_s / run.messages for run in runs) * 1e6
            figures[f"{kind} ({SIZES[kind]} B): the same, lowest slice"] = lowest
            figures[f"{kind} ({SIZES[kind]} B): messages/s"] = median(r.messages / r.seconds for r in runs)
        for percent in (50, 99):
            figures[f"{ICE} at a steady rate: p{percent} ms"] = median(
                percentile(run.latencies_ms, percent) for run in self.paced
            )
        figures["KB per idle session"] = median(self.idle_kb)
        figures["session starts/s"] = median(self.starts_per_s)
        figures["CPU us per session start"] = median(self.start_cpu_us)
        return figures


@dataclass(slots=True)
class Aside:
    """What other processes used for the hub, per session start; microseconds."""

    valkey_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many of a hundred lie."""
    return quantiles(values, n=100)[percent - 1]


def measure_starts(
    results: Results, server: ServerProcess, crowds: Sequence[Sequence[Talk]], *, leave: bool
) -> None:
    """Lets the second crowd in, after the first has warmed the server up; `leave` ends the sessions in order."""
    # What a server makes once only, and the first growth of its heap, is not charged to a session.
    warm_up, crowd = crowds
    warm = Swarm(server.port)
    warm.connect(warm_up)
    time.sleep(0.3)
    resident = server.resident_bytes()
    swarm = Swarm(server.port)
    before = server.usage()
    seconds = swarm.connect(crowd)
    results.starts_per_s.append(len(crowd) / seconds)
    results.start_cpu_us.append((server.usage().cpu_s - before.cpu_s) / len(crowd) * 1e6)
    time.sleep(0.5)
    results.idle_kb.append((server.resident_bytes() - resident) / len(crowd) / 1024)
    (swarm.leave if leave else swarm.close)()
    (warm.leave if leave else warm.close)()


def measure_hub_starts(results: Results, aside: Aside, world: World, plan: Plan) -> None:
    """Starts the hub anew. Who comes for the first time has their blocks read from PostgreSQL."""
    with running_part("all", SERVER_CORE, world.environment) as server:
        people = world.people[: plan.idle + plan.warm_up]
        valkey, postgres = cpu_seconds(world.valkey_pid), cpu_seconds(world.postgres_pid)
        crowds = [sessions(people[: plan.warm_up]), sessions(people[plan.warm_up :])]
        measure_starts(results, server, crowds, leave=True)
        aside.valkey_us.append((cpu_seconds(world.valkey_pid) - valkey) / len(people) * 1e6)
        aside.postgres_us.append((cpu_seconds(world.postgres_pid) - postgres) / len(people) * 1e6)


def measure_plain_starts(results: Results, plan: Plan) -> None:
    with running_server(AIOHTTP, SERVER_CORE) as server:
        numbers = range(plan.warm_up // 2, (plan.warm_up + plan.idle) // 2)
        crowds = [pairs(range(plan.warm_up // 2)), pairs(numbers)]
        measure_starts(results, server, crowds, leave=False)


def sessions(people: Sequence[Account]) -> list[Talk]:
    return [HubTalk(account, meets=False) for account in people]


def pairs(numbers: range) -> list[Talk]:
    return [PlainTalk(number, seat) for number in numbers for seat in (0, 1)]


def measure_relays(hub: Results, plain: Results, world: World, plan: Plan, number: int = 0) -> None:
    """Starts both servers, and lets them relay by turns, in slices: what disturbs the machine disturbs both alike."""
    # Nobody is still in a call of the round before.
    environment = {**world.environment, "MINUET_REDIS_PREFIX": f"relays{number}:"}
    with ExitStack() as running:
        swarms = []
        callers: list[Talk] = [HubTalk(account, meets=True) for account in world.people[: plan.pairs * 2]]
        for results, server, talks in (
            (hub, running.enter_context(running_part("all", SERVER_CORE, environment)), callers),
            (plain, running.enter_context(running_server(AIOHTTP, SERVER_CORE)), pairs(range(plan.pairs))),
        ):
            swarm = Swarm(server.port)
            running.callback(swarm.close)
            swarm.connect(talks)
            swarm.pair_up()
            swarms.append((results, swarm, server))
        for slice_ in range(plan.slices + 1):
            # Candidates need a fresh negotiation, so descriptions come first. Slices are short: nobody reads the
            # sockets of the server whose turn it is not, and the hub wants its pings answered within seconds.
            for kind, per_pair in ((SDP, plan.descriptions), (ICE, CANDIDATES_PER_NEGOTIATION)):
                for results, swarm, server in swarms:
                    run = swarm.exchange(kind, per_pair, server.usage)
                    if slice_:  # the first slice warms up
                        results.relayed[kind].append(run)
        count = min(int(plan.paced_per_s * plan.paced_s), plan.pairs * 2 * CANDIDATES_PER_NEGOTIATION)
        for results, swarm, server in swarms:
            swarm.exchange(SDP, 2, server.usage)
            results.paced.append(swarm.pace(ICE, plan.paced_per_s, count, server.usage))


def table(ours: Results, other: Results) -> str:
    """One row per figure, one column per server, and our ratio to the other."""
    lines = [f"| | {ours.name} | {other.name} | ratio |", "| --- | ---: | ---: | ---: |"]
    for (name, mine), theirs in zip(ours.rows().items(), other.rows().values(), strict=True):
        values = [f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" for value in (mine, theirs)]
        lines.append(f"| {name} | {values[0]} | {values[1]} | {mine / theirs:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    plan = QUICK if parser.parse_args().quick else FULL
    hub, plain, aside = Results(HUB), Results(PLAIN), Aside()
    first, first_aside = Results(HUB), Aside()
    with opened_world(plan.people) as world:
        prepare(plan.people)
        measure_hub_starts(first, first_aside, world, plan)
        for number in range(plan.rounds):
            print(f"round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
            measure_hub_starts(hub, aside, world, plan)
            measure_plain_starts(plain, plan)
            measure_relays(hub, plain, world, plan, number)
    print(
        f"Python {platform.python_version()}, aiohttp {version('aiohttp')}, uvloop {version('uvloop')}; "
        f"{plan.pairs} pairs, {plan.idle} idle sessions; medians of {plan.rounds} "
        f"round{'s' * (plan.rounds > 1)} of {plan.slices} slices; steady rate: {plan.paced_per_s:,} messages/s\n"
    )
    print(table(hub, plain))
    print("\nCPU us per session start, sign-off included beside the hub:")
    for who, seen, beside in (("a first visit", first, first_aside), ("who was here before", hub, aside)):
        print(
            f"{who}: hub {median(seen.start_cpu_us):.0f}, Valkey {median(beside.valkey_us):.0f}, "
            f"PostgreSQL {median(beside.postgres_us):.0f}"
        )
    runs = [run for results in (hub, plain) for kind in results.relayed.values() for run in kind]
    waited = median(run.waited_s / run.seconds for run in runs)
    print(f"The servers waited for their core, taken by other programs, {waited:.0%} of the time.")
    for results in (hub, plain):
        idle = median(run.idle_share for runs in results.relayed.values() for run in runs)
        print(f"Polls that found nothing for the clients of {results.name} to do: {idle:.0%}.")


def prepare(descriptors: int) -> None:
    """Goes to the clients' core, with room for the sockets. Raises: SystemExit where that is not possible."""
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        raise SystemExit("needs Linux (epoll, /proc) and two cores")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors + 1000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors + 1000, hard), hard))
    os.sched_setaffinity(0, {CLIENT_CORE})
    gc.disable()


if __name__ == "__main__":
    main()
