"""The crowd, for locust: people who register, meet, talk, and go, over REST and WebSocket. See docs/load-testing.md.

    locust -f loadtests/locustfile.py --headless -H http://127.0.0.1:8080 -u 50 -r 10 -t 30s -s 10

It stops with status 1 if anything failed that a client could not simply have tried again.
"""

import sys
from argparse import ArgumentParser
from typing import Any

from locust import events
from locust.env import Environment

from loadtests.crowd.people import Friend, Man, OnlyLoopback, Woman, require_loopback

__all__ = ["Friend", "Man", "Woman"]


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--patience", type=float, default=20.0, metavar="SECONDS", help="how long people wait for a partner"
    )


@events.init.add_listener
def refuse_other_machines(environment: Environment, **_: Any) -> None:
    # With a web interface the address is asked for later; then each user looks at it.
    if environment.host is None and environment.web_ui is not None:
        return
    try:
        require_loopback(environment.host)
    except OnlyLoopback as refusal:
        sys.exit(f"locustfile: {refusal}")
