"""`minuet serve`: a hub, with REST and pages."""

import argparse
from typing import Any

from minuet.commands.running import serve_parts
from minuet.wiring.roles import Parts


def add(commands: Any) -> None:
    parser = commands.add_parser("serve", help="a hub: WebSocket, REST and pages")
    parser.add_argument(
        "--all-in-one", action="store_true", help="also the matchmaker and the worker, in one process"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    everything = bool(options.all_in_one)
    return serve_parts(Parts(hub=True, matchmaker=everything, worker=everything))
