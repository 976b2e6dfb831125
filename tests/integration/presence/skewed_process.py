"""A process of Minuet on a machine whose clock is wrong: `python skewed_process.py <ms> <command...>`."""

import sys

from base.clock import SystemClock
from minuet.__main__ import main

right = SystemClock.wall_ms
ahead_ms = int(sys.argv.pop(1))


def wrong(clock: SystemClock) -> int:
    return right(clock) + ahead_ms


SystemClock.wall_ms = wrong  # type: ignore[method-assign]  # as somebody who set the machine's clock
sys.exit(main())
