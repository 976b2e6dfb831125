"""`minuet matchmaker`: pairs people."""

import argparse
from typing import Any

from minuet.commands.flags import add_redis_flags
from minuet.commands.running import serve_parts
from minuet.wiring.roles import Parts


def add(commands: Any) -> None:
    parser = commands.add_parser("matchmaker", help="pairs people; several share the queues")
    add_redis_flags(parser)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    return serve_parts(Parts(matchmaker=True))
