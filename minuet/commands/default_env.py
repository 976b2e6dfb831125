"""`minuet default-env`: every environment variable with its default."""

import argparse
from typing import Any

from minuet.reference.templates import default_environment


def add(commands: Any) -> None:
    commands.add_parser("default-env", help="print every environment variable").set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    print(default_environment(), end="")
    return 0
