"""The long run, for `make chaos`: round after round of faults, each kind in its turn, histories and a report in a folder.

    python -m tests.chaos.long_run --minutes 20 --people 200 --seed 7 --folder /tmp/chaos

Each round is a run of its own, on a deployment of its own, with a seed that follows from the first; every third one is on a
Redis Cluster. Ends with status 1 after the first run that fails, and keeps everything of it.
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

from tests.chaos.deployment import Layout
from tests.chaos.faults_load import CROWD
from tests.chaos.run import Plan, Report, run
from tests.chaos.schedule import draw, groups
from tests.chaos.swarm_world import CONFIG

POSTGRES_S = 30.0
STORM = 2_000


def main() -> int:
    options = _options()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"MINUET_CHAOS_SEED={options.seed}, {options.minutes:g} minutes, into {folder}", flush=True)
    until = time.monotonic() + options.minutes * 60
    number = 0
    while number == 0 or time.monotonic() < until:
        seed = options.seed + number
        cluster = options.cluster or (not options.plain and number % 3 == 2)
        report = asyncio.run(_round(options, seed, folder / f"seed-{seed}", cluster=cluster))
        print(report.text() if not report.ok else _line(report), flush=True)
        if not report.ok:
            return 1
        number += 1
    return 0


async def _round(options: argparse.Namespace, seed: int, folder: Path, *, cluster: bool) -> Report:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    layout = Layout(cluster=cluster, config=CONFIG + CROWD, max_sessions=3 * options.people // 2)
    kinds = groups(layout, postgres_s=options.postgres_s)
    if options.only:
        kinds = {name: draws for name, draws in kinds.items() if any(part in name for part in options.only)}
    plan = Plan(seed, options.people, layout, draw(seed, layout, kinds, rounds=options.rounds))
    return await run(plan, folder)


def _line(report: Report) -> str:
    faults = ", ".join(type(done.fault).__name__ for done in report.done)
    return f"seed {report.plan.seed} passed: {report.counts['calls live']} calls live, {len(report.done)} faults: {faults}"


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.chaos.long_run", description="break a deployment for minutes"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no further round after so long")
    parser.add_argument("--people", type=int, default=200)
    seed = os.environ.get("MINUET_CHAOS_SEED")
    parser.add_argument("--seed", type=int, default=int(seed) if seed else secrets.randbelow(1_000_000))
    parser.add_argument("--rounds", type=int, default=3, help="faults of each group in a round")
    parser.add_argument("--postgres-s", type=float, default=POSTGRES_S, help="how long PostgreSQL is away")
    parser.add_argument(
        "--only", nargs="*", default=(), help="groups of faults whose names contain one of these"
    )
    parser.add_argument("--folder", type=Path, default=Path("chaos-runs"))
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cluster", action="store_true", help="every round on a Redis Cluster")
    kind.add_argument("--plain", action="store_true", help="no round on a Redis Cluster")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
