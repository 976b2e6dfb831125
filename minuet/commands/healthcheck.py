"""`minuet healthcheck`: exit status 0 while the process on this machine is ready; for containers."""

import argparse
import sys
import urllib.error
import urllib.request
from typing import Any

from minuet.commands.running import settings_from_environment

_TIMEOUT_S = 3.0


def add(commands: Any) -> None:
    commands.add_parser("healthcheck", help="ask the local admin port whether it is ready").set_defaults(
        run=run
    )


def run(_options: argparse.Namespace) -> int:
    settings = settings_from_environment()
    # Where the server listens on every address, it is asked on loopback.
    own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  compared, not bound
    host = own.get(settings.admin_host, settings.admin_host)
    url = f"http://{host}:{settings.admin_port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"minuet: {url}: {error}", file=sys.stderr)
        return 1
