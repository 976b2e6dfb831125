"""`minuet matchmaker`: pairs people."""

import argparse
from typing import Any

from minuet.commands.running import serve_parts
from minuet.wiring.roles import Parts


def add(commands: Any) -> None:
    commands.add_parser("matchmaker", help="pairs people; several share the queues").set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    return serve_parts(Parts(matchmaker=True))
