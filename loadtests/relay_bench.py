"""Compare Minuet's whole hub with other relays: CPU per relayed message, delay, memory, connects, matches.

    python -m loadtests.relay_bench                        all that are installed, three rounds, about four minutes
    python -m loadtests.relay_bench --quick                one short round, about a minute
    python -m loadtests.relay_bench --targets hub,aiohttp  these, the hub first

The hub is all of Minuet in one process, as `minuet serve --all-in-one` runs it: tokens, presence, pair checks, the SDP
gate, limits, sequence numbers and metrics, the matchmaker and the worker beside them. Its pairs are people who queued,
were matched, accepted and said that their media flows, and it answers each message with `ok`. The others check a token,
write presence, pair by Redis lists, and pass on (`loadtests/peers`); what runs on Node is left out, with a note, until
`make bench-peers` has installed it. `c` only passes on, compiled where there is a C compiler: the machine's limit, and its connects and
matches are nobody's measure. `aiohttp-ok` is plain aiohttp with the hub's promises and without its checks: an `ok` to each
message, and an outbox.

Each server runs on core 0, the clients on core 1, Valkey and PostgreSQL where there is room (Linux). What counts is the
CPU time that the kernel charges to the server's process, user and system, per delivered message: it survives a machine that
others use too. The generator spins while it measures, so no wake-up of it is charged to a server.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from loadtests.edge.targets import ICE, SDP
from loadtests.hub.processes import cpu_seconds, prepare
from loadtests.hub.talk import CANDIDATES_PER_NEGOTIATION
from loadtests.hub.world import World, opened_world
from loadtests.relay.report import Results, disturbance, figures_table, goals_table
from loadtests.relay.targets import ALL, HUB, Target, chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    rounds: int
    slices: int
    pairs: int
    idle: int
    matches: int
    descriptions: int
    """Relayed by each pair in a slice; even."""
    paced_per_s: int = 5000
    paced_slices: int = 3
    paced_s: float = 1.0
    warm_up: int = 300
    """Connections that come before those that are counted."""

    @property
    def people(self) -> int:
        return max(self.pairs * 2, self.idle + self.warm_up, self.matches * 2 + self.warm_up)


FULL = Plan(rounds=3, slices=6, pairs=200, idle=3000, matches=500, descriptions=20)
QUICK = Plan(rounds=1, slices=2, pairs=100, idle=600, matches=150, descriptions=10, paced_slices=1)


class Bench:
    """The servers that are compared, and what has been seen of them."""

    def __init__(self, targets: Sequence[Target], world: World, plan: Plan) -> None:
        self.results = {target: Results(target.name) for target in targets}
        self._world = world
        self._plan = plan
        self._runs = 0

    def measure_round(self) -> None:
        """Everything once, of every server."""
        for target, results in self.results.items():
            self._measure_connects(target, results)
        for target, results in self.results.items():
            self._measure_matches(target, results)
        self._measure_relays()

    def _keys(self) -> str:
        """Keys that no run before has used: nobody is still in a call of it."""
        self._runs += 1
        return f"run{self._runs}:"

    def _measure_connects(self, target: Target, results: Results) -> None:
        plan, people = self._plan, self._world.people
        with target.running(self._world, self._keys()) as server:
            # What a server makes once only, and the first growth of its heap, is not charged to a connection.
            warm = target.swarm(server)
            warm.connect(target.talks(people[: plan.warm_up], meets=False))
            time.sleep(0.3)
            target.collect(server)
            resident, swarm = server.resident_bytes(), target.swarm(server)
            usage, stores = server.usage(), self._stores_cpu_s()
            crowd = target.talks(people[plan.warm_up : plan.warm_up + plan.idle], meets=False)
            seconds = swarm.connect(crowd)
            results.connects_per_s.append(plan.idle / seconds)
            results.connect_cpu_us.append((server.usage().cpu_s - usage.cpu_s) / plan.idle * 1e6)
            results.connect_stores_us.append((self._stores_cpu_s() - stores) / plan.idle * 1e6)
            time.sleep(0.5)
            target.collect(server)
            results.idle_kb.append((server.resident_bytes() - resident) / plan.idle / 1024)
            swarm.leave()
            warm.leave()

    def _measure_matches(self, target: Target, results: Results) -> None:
        plan, people = self._plan, self._world.people
        with target.running(self._world, self._keys()) as server:
            warm, swarm = target.swarm(server), target.swarm(server)
            warm.connect(target.talks(people[: plan.warm_up], meets=False))
            warm.meet()
            swarm.connect(target.talks(people[plan.warm_up : plan.warm_up + plan.matches * 2], meets=False))
            time.sleep(0.3)
            usage, stores = server.usage(), self._stores_cpu_s()
            seconds = swarm.meet()
            results.matches_per_s.append(plan.matches / seconds)
            results.match_cpu_us.append((server.usage().cpu_s - usage.cpu_s) / plan.matches * 1e6)
            results.match_stores_us.append((self._stores_cpu_s() - stores) / plan.matches * 1e6)
            swarm.close()
            warm.close()

    def _measure_relays(self) -> None:
        """All relay by turns, in slices: what disturbs the machine disturbs all alike."""
        plan = self._plan
        with ExitStack() as started:
            swarms = []
            for target, results in self.results.items():
                server = started.enter_context(target.running(self._world, self._keys()))
                swarm = target.swarm(server)
                started.callback(swarm.close)
                swarm.connect(target.talks(self._world.people[: plan.pairs * 2], meets=True))
                swarm.pair_up()
                swarms.append((results, swarm, server))
            for slice_ in range(plan.slices + 1):
                # Candidates need a fresh negotiation, so descriptions come first.
                for kind, per_pair in ((SDP, plan.descriptions), (ICE, CANDIDATES_PER_NEGOTIATION)):
                    for results, swarm, server in swarms:
                        run = swarm.exchange(
                            kind,
                            per_pair,
                            server.usage,
                            [other for _, other, _ in swarms if other is not swarm],
                        )
                        if slice_:  # the first slice warms up
                            results.relayed[kind].append(run)
            count = min(int(plan.paced_per_s * plan.paced_s), plan.pairs * 2 * CANDIDATES_PER_NEGOTIATION)
            for _ in range(plan.paced_slices):
                for results, swarm, server in swarms:
                    for _, other, _ in swarms:
                        other.attend()
                    swarm.exchange(SDP, 2, server.usage)
                    results.paced.append(swarm.pace(ICE, plan.paced_per_s, count, server.usage))

    def _stores_cpu_s(self) -> float:
        return cpu_seconds(self._world.valkey_pid) + cpu_seconds(self._world.postgres_pid)


@contextmanager
def opened_bench(targets: Sequence[Target], plan: Plan) -> Iterator[Bench]:
    """The stores and the people, and nothing measured yet."""
    with opened_world(plan.people) as world:
        prepare(plan.people)
        yield Bench(targets, world, plan)


def report(bench: Bench, plan: Plan) -> str:
    """All tables, and under what conditions they came about."""
    lines = [
        f"Python {platform.python_version()}, Linux {platform.release()}; {plan.pairs} pairs, {plan.idle} idle "
        f"connections, {plan.matches} matches; medians of {plan.rounds} round{'s' * (plan.rounds > 1)} of "
        f"{plan.slices} slices; steady rate {plan.paced_per_s:,} messages/s",
        *(f"{target.name}: {target.versions()}" for target in bench.results),
        "",
        figures_table(list(bench.results.values())),
        "",
    ]
    others = {
        name: bench.results[target]
        for name, target in ALL.items()
        if target is not HUB and target in bench.results
    }
    if HUB in bench.results and others:
        lines += [goals_table(bench.results[HUB], others), ""]
    return "\n".join([*lines, disturbance(bench.results.values())])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    parser.add_argument("--targets", default=",".join(ALL), metavar="NAMES", help=f"of {', '.join(ALL)}")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    targets = chosen(options.targets, ALL)
    with opened_bench(targets, plan) as bench:
        for number in range(plan.rounds):
            print(f"round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
            bench.measure_round()
        print(report(bench, plan))


if __name__ == "__main__":
    main()
