"""Judges a run that was kept once more, by the rules of now: for whoever writes rules, or looks for what another one misses.

python -m tests.chaos.judge_again chaos-runs/all-7
"""

import argparse
import sys
from pathlib import Path

import msgspec

from tests.chaos.checker import Mode, check
from tests.chaos.history import History, load
from tests.chaos.readings import Readings

HISTORY, READINGS, MODE = "history.jsonl", "readings.json", "mode.json"


def keep(folder: Path, readings: Readings, mode: Mode) -> None:
    """Leaves in a folder what a run is judged by beside its history."""
    (folder / READINGS).write_bytes(msgspec.json.encode(readings))
    (folder / MODE).write_bytes(msgspec.json.encode(mode))


def kept_in(folder: Path) -> tuple[History, Readings, Mode]:
    """What was left there."""
    return (
        load(folder / HISTORY),
        msgspec.json.decode((folder / READINGS).read_bytes(), type=Readings),
        msgspec.json.decode((folder / MODE).read_bytes(), type=Mode),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos.judge_again", description="judge a kept run once more")
    parser.add_argument("folder", type=Path)
    verdict = check(*kept_in(parser.parse_args().folder))
    print(verdict.report())
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
