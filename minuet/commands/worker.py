"""`minuet worker`: recorder, sweep, reaper."""

import argparse
from typing import Any

from minuet.commands.flags import add_redis_flags
from minuet.commands.running import serve_parts
from minuet.wiring.roles import Parts


def add(commands: Any) -> None:
    parser = commands.add_parser("worker", help="writes history, and clears up after dead nodes")
    add_redis_flags(parser)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    return serve_parts(Parts(worker=True))
