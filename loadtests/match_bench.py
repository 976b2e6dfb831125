"""From joining a queue to `match.found`, over real sockets: how long it takes, and what it costs.

    python -m loadtests.match_bench            50, 150 and 300 matches a second, all layouts, three rounds: six minutes
    python -m loadtests.match_bench --quick    30 a second, briefly

Women and men with sessions join one after the other at a rate that is kept (exponential gaps), and everybody finds
somebody. A match counts from the moment when the later of the two sent `queue.join` until both have `match.found`:
the user's slot, the ticket, the claim, the call's record and the way to two sockets are all in it.

Three layouts: hub, matchmaker and worker in one process (`minuet serve --all-in-one`); the matchmaker in a process of
its own; and four hubs beside one matchmaker, people spread over them, so that most pairs are of two nodes. A single hub runs
on core 0, the clients on core 1, four hubs, the matchmaker of its own, Valkey and PostgreSQL where there is room (Linux). CPU is
what the kernel charges to each process, user and system, per match.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from statistics import median, quantiles

import orjson

from loadtests.edge.server_process import ServerProcess
from loadtests.hub.processes import SERVER_CORE, cpu_seconds, prepare, running_part
from loadtests.hub.swarm import Client, Swarm, frame
from loadtests.hub.talk import PING, PONG, HubTalk
from loadtests.hub.world import Account, World, opened_world

PATIENCE_S = 20.0
MATCHMAKER = "matchmaker"
PROCESSES = ("hubs", "matchmaker", "Valkey", "PostgreSQL")
CONFIG = """
# A match stays what it is until the end of the measurement.
[intents.dating]
proposed_s = 3600.0
"""
LAYOUTS: Mapping[str, Sequence[str]] = {
    "one process": ("all",),
    "matchmaker apart": ("hub", MATCHMAKER),
    "four hubs": ("hub", "serve", "serve", "serve", MATCHMAKER),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: matches a second, one rate after the other, each for so long; all that so many times."""

    rates: Sequence[int]
    seconds: float
    rounds: int = 1

    @property
    def people(self) -> int:
        return sum(2 * int(rate * self.seconds) for rate in self.rates)


FULL = Plan(rates=(50, 150, 300), seconds=6.0, rounds=3)
QUICK = Plan(rates=(30,), seconds=3.0)


@dataclass(frozen=True, slots=True)
class Matched:
    """What a rate gave."""

    asked_per_s: int
    missing: int
    """Matches that were not made in time."""
    reached_per_s: float
    waits_ms: Sequence[float]
    cpu_us: Mapping[str, float]
    """Per match, by process."""

    def figures(self) -> list[float]:
        """The row of the table, in the order of its columns."""
        percentiles = quantiles(self.waits_ms, n=100)
        waits = [percentiles[percent - 1] for percent in (50, 95, 99)]
        return [self.reached_per_s, self.missing, *waits, *(self.cpu_us[name] for name in PROCESSES)]


class Seeker(HubTalk):
    """Somebody with a session, ready to look for somebody."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, meets=False)
        self.joined_at = 0.0


@dataclass(slots=True)
class Meeting:
    """A call in the making: when the later one joined, when each was told."""

    joined_at: float
    told_at: list[float]


class Matches:
    """Hears of matches."""

    def __init__(self) -> None:
        self._meetings: dict[str, Meeting] = {}
        self.complete: list[Meeting] = []
        self.refused = ""
        """The last message that must not come, such as `unavailable` where the rate is too high for the servers."""

    def heard(self, client: Client, message: bytes, now: float) -> None:
        """Takes a message."""
        if message.startswith(b'{"type":"match.found"'):
            call_id = orjson.loads(message)["data"]["call_id"]
            joined_at = client.sent_at[-1]
            meeting = self._meetings.setdefault(call_id, Meeting(joined_at, []))
            meeting.joined_at = max(meeting.joined_at, joined_at)
            meeting.told_at.append(now)
            if len(meeting.told_at) == 2:
                self.complete.append(meeting)
        elif message.startswith(PING):
            client.sock.send(frame(PONG))
        elif message.startswith((b'{"type":"error"', b'{"type":"queue.left"', b'{"type":"call.ended"')):
            self.refused = message.decode()

    def waits_ms(self) -> list[float]:
        return [(max(meeting.told_at) - meeting.joined_at) * 1000 for meeting in self.complete]


def measure(
    swarm: Swarm, crowd: Sequence[Client], rate: int, random: Random, cpu: Mapping[str, Callable[[], float]]
) -> Matched:
    """Lets the crowd join, women and men by turns, twice as many a second as there are to be matches."""
    matches = Matches()
    at = 0.0
    schedule = []
    for client in crowd:
        at += random.expovariate(2 * rate)
        assert isinstance(client.talk, Seeker)
        schedule.append((at, client, client.talk.join()))
    before = {name: seconds() for name, seconds in cpu.items()}
    began = time.perf_counter()
    for _ in swarm.follow(schedule, matches.heard):
        if len(matches.complete) == len(crowd) // 2:
            break
        if time.perf_counter() - began > at + PATIENCE_S:
            break
    count = len(matches.complete)
    if count < 2:
        raise TimeoutError(f"hardly anybody was matched; the hub said {matches.refused!r}")
    if matches.refused:
        print(f"the hub said {matches.refused[:300]}", file=sys.stderr)
    ended = max(max(meeting.told_at) for meeting in matches.complete)
    return Matched(
        asked_per_s=rate,
        missing=len(crowd) // 2 - count,
        reached_per_s=count / (ended - began),
        waits_ms=matches.waits_ms(),
        cpu_us={name: (seconds() - before[name]) / count * 1e6 for name, seconds in cpu.items()},
    )


def measure_layout(name: str, world: World, plan: Plan, prefix: str) -> list[Matched]:
    """Starts the processes of a layout on keys of their own, and goes through the rates."""
    environment = {**world.environment, "MINUET_REDIS_PREFIX": prefix}
    with ExitStack() as running:
        hubs, apart = _started(running, LAYOUTS[name], environment)
        cpu: dict[str, Callable[[], float]] = {
            "hubs": lambda: sum(server.usage().cpu_s for server in hubs),
            "matchmaker": lambda: sum(server.usage().cpu_s for server in apart),
            "Valkey": lambda: cpu_seconds(world.valkey_pid),
            "PostgreSQL": lambda: cpu_seconds(world.postgres_pid),
        }
        swarm = Swarm(*(server.port for server in hubs))
        running.callback(swarm.close)
        swarm.connect([Seeker(account) for account in world.people])
        waiting = swarm.clients
        random = Random(1)
        results = []
        for rate in plan.rates:
            count = 2 * int(rate * plan.seconds)
            crowd, waiting = waiting[:count], waiting[count:]
            time.sleep(0.5)
            results.append(measure(swarm, crowd, rate, random, cpu))
            if results[-1].missing:
                break  # what is too much here will be so at a higher rate
        return results


def _started(
    running: ExitStack, layout: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[ServerProcess], list[ServerProcess]]:
    """The hubs, a single one on its own core, and the matchmakers that are processes of their own."""
    hubs: list[ServerProcess] = []
    apart: list[ServerProcess] = []
    is_alone = sum(parts != MATCHMAKER for parts in layout) == 1
    for parts in layout:
        is_hub = parts != MATCHMAKER
        core = SERVER_CORE if is_hub and is_alone else None
        (hubs if is_hub else apart).append(running.enter_context(running_part(parts, core, environment)))
    return hubs, apart


def table(rounds: Mapping[str, Sequence[Sequence[Matched]]]) -> str:
    """One row per layout and rate, each figure the median of its rounds."""
    columns = ["", "matches/s", "reached", "not made", "p50 ms", "p95 ms", "p99 ms"]
    columns += [f"{name}: CPU us per match" for name in PROCESSES]
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for layout, results in rounds.items():
        # A round that gave up at a rate has no more of them.
        for runs in zip_longest(*results):
            kept = [run for run in runs if run is not None]
            figures = [median(column) for column in zip(*(run.figures() for run in kept), strict=True)]
            cells = [
                f"{value:,.0f}" if value >= 100 or not value % 1 else f"{value:.1f}" for value in figures
            ]
            lines.append(f"| {layout} | {kept[0].asked_per_s} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one low rate, to see that all works")
    plan = QUICK if parser.parse_args().quick else FULL
    rounds: dict[str, list[Sequence[Matched]]] = {layout: [] for layout in LAYOUTS}
    with opened_world(plan.people, CONFIG) as world:
        prepare(plan.people)
        for number in range(plan.rounds):
            for layout in LAYOUTS:
                print(f"round {number + 1} of {plan.rounds}: {layout}", file=sys.stderr, flush=True)
                prefix = f"{layout.replace(' ', '-')}{number}:"
                rounds[layout].append(measure_layout(layout, world, plan, prefix))
    print(
        f"Python {platform.python_version()}; {plan.people} people with sessions; {plan.seconds:.0f} s a rate; "
        f"medians of {plan.rounds} round{'s' * (plan.rounds > 1)}\n"
    )
    print(table(rounds))


if __name__ == "__main__":
    main()
