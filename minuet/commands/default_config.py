"""`minuet default-config`: the TOML file with every setting at its default."""

import argparse
from typing import Any

from minuet.reference.templates import default_toml


def add(commands: Any) -> None:
    commands.add_parser("default-config", help="print a TOML file of all defaults").set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    print(default_toml(), end="")
    return 0
