"""The crowd, for locust: people who register, meet, talk, write, and go, over REST and WebSocket. See docs/load-testing.md.

    locust -f loadtests/locustfile.py --headless -H http://127.0.0.1:8080 -u 50 -r 10 -t 30s -s 10
    locust -f loadtests/locustfile.py,loadtests/skewed_evening.py ...      three men for each woman, and a rush hour

It stops with status 1 if anything failed that a client could not simply have tried again.
"""

import sys
from argparse import ArgumentParser
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.crowd.people import (
    Chatter,
    Dropper,
    Friend,
    Lurker,
    OnlyLoopback,
    Picky,
    Talker,
    require_loopback,
)

__all__ = ["Chatter", "Dropper", "Friend", "Lurker", "Picky", "Talker"]


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--patience", type=float, default=20.0, metavar="SECONDS", help="how long people wait for a partner"
    )
    parser.add_argument(
        "--men-per-woman", type=float, default=1.0, metavar="RATIO", help="among those who date"
    )
    parser.add_argument(
        "--tokens", default="", metavar="FILE", help="access tokens, one a line, instead of registering"
    )
    parser.add_argument(
        "--token-shares", type=int, default=1, metavar="WORKERS", help="workers among which tokens are shared"
    )


@events.init.add_listener
def refuse_other_machines(environment: Environment, **_: Any) -> None:
    # Told later: by the web page, or a worker by its master. Then each user looks at it.
    told_later = environment.web_ui is not None or isinstance(environment.runner, WorkerRunner)
    if environment.host is None and told_later:
        return
    try:
        require_loopback(environment.host)
    except OnlyLoopback as refusal:
        sys.exit(f"locustfile: {refusal}")
