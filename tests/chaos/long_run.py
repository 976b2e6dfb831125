"""The long run, for `make chaos`: round after round of faults, each kind in its turn, histories and a report in a folder.

    python -m tests.chaos.long_run --minutes 20 --people 200 --seed 7 --folder /tmp/chaos

Each round is a run of its own, on a deployment of its own, with a seed that follows from the first. Rounds take turns:
everything that can break; a Redis Cluster that loses acknowledged writes; Redis and hubs among people who hang up and load
their pages anew all the time; thousands who come back at once; rolling restarts under load. Ends with status 1 if any round failed, and keeps everything of those that did.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.deployment import FRONT, Layout
from tests.chaos.faults import Fault
from tests.chaos.faults_load import CROWD
from tests.chaos.faults_network import Reset
from tests.chaos.faults_processes import KillProcess, RollHubs
from tests.chaos.run import Plan, run
from tests.chaos.schedule import draw, groups
from tests.chaos.swarm_world import CONFIG, Habits

POSTGRES_S = 30.0
STORM = 2_000
KINDS = ("all", "cluster", "restless", "storm", "rolling")


def main() -> int:
    options = _options()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"CHAOS_SEED={options.seed}, {options.minutes:g} minutes, into {folder}", flush=True)
    until = time.monotonic() + options.minutes * 60
    number, failed = 0, 0
    while number == 0 or time.monotonic() < until:
        kind = options.kinds[number % len(options.kinds)]
        seed = options.seed + number // len(options.kinds)
        failed += not _one(plan_of(kind, seed, options), folder / f"{kind}-{seed}", keep=options.keep)
        number += 1
    print(f"{number} rounds, {failed} failed", flush=True)
    return 1 if failed else 0


def plan_of(kind: str, seed: int, options: argparse.Namespace) -> Plan:
    """What a round of this kind does."""
    people: int = options.people
    match kind:
        case "restless":
            layout = Layout(config=CONFIG)
            # They look again at calls whose ends are still on their way.
            habits = Habits(hangs_up=0.7, connects=0.7, reloads=0.3, leaves=0.15)
            drawn = groups(layout, postgres_s=options.postgres_s)
            theirs = {name: draws for name, draws in drawn.items() if "Redis" in name or "a hub" in name}
            return Plan(seed, people, layout, draw(seed, layout, theirs, rounds=2 * options.rounds), habits)
        case "storm":
            layout = Layout(config=CONFIG, max_sessions=2 * options.storm)
            # One in ten lives, the others hold a session: it is the coming back that is tried.
            habits = Habits(idles=0.9)
            faults: list[Fault] = [Reset(FRONT), KillProcess("hub-1", 1.0), Reset(FRONT)]
            return Plan(seed, options.storm, layout, faults, habits, calm_s=5.0)
        case "rolling":
            layout = Layout(hubs=1, hub_workers=2, matchmakers=1, workers=1, config=CONFIG)
            habits = Habits(reloads=0.0, leaves=0.0)
            rolls = [RollHubs("hub-1")] * options.rounds
            return Plan(seed, people // 2, layout, rolls, habits, unnoticed=True)
        case _:
            room = 6 * people // 5
            layout = Layout(cluster=kind == "cluster", config=CONFIG + CROWD, max_sessions=room)
            kinds = groups(layout, postgres_s=options.postgres_s)
            if options.only:
                kinds = {
                    name: draws for name, draws in kinds.items() if any(part in name for part in options.only)
                }
            return Plan(seed, people, layout, draw(seed, layout, kinds, rounds=options.rounds))


def _one(plan: Plan, folder: Path, *, keep: bool) -> bool:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    report = asyncio.run(run(plan, folder))
    if report.ok:
        faults = ", ".join(type(done.fault).__name__ for done in report.done)
        print(f"{folder.name}: passed, {report.counts['calls live']} calls live; {faults}", flush=True)
        # Of what went well the report is enough.
        for path in () if keep else folder.iterdir():
            if path.name not in ("report.txt", "schedule.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        print(f"{folder.name}:\n{report.text()}", flush=True)
    return report.ok


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.chaos.long_run", description="break a deployment for minutes"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no further round after so long")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--storm", type=int, default=STORM, help="how many come back at once in a storm")
    seed = os.environ.get("CHAOS_SEED")
    parser.add_argument("--seed", type=int, default=int(seed) if seed else secrets.randbelow(1_000_000))
    parser.add_argument("--rounds", type=int, default=2, help="faults of each group in a round")
    parser.add_argument("--postgres-s", type=float, default=POSTGRES_S, help="how long PostgreSQL is away")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of rounds, by turns")
    parser.add_argument(
        "--only", nargs="*", default=(), help="groups of faults whose names contain one of these"
    )
    parser.add_argument("--keep", action="store_true", help="keep everything of rounds that passed, too")
    parser.add_argument("--folder", type=Path, default=Path("chaos-runs"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
