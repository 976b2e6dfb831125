"""`minuet check-config`: whether the configuration can be used, and what it comes to."""

import argparse
from typing import Any

import msgspec

from minuet.commands.flags import add_redis_flags
from minuet.commands.running import settings_from_environment
from minuet.settings import SECRETS
from minuet.turn import with_ip_privacy


def add(commands: Any) -> None:
    parser = commands.add_parser("check-config", help="read the configuration and print what it comes to")
    add_redis_flags(parser)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    values = msgspec.to_builtins(with_ip_privacy(settings_from_environment()))
    for name, value in values.items():
        shown = "[set]" if name in SECRETS and value is not None else value
        print(f"{name} = {shown}")
    return 0
