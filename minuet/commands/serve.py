"""`minuet serve`: a hub, with REST and pages; with `--workers`, several of them on one port."""

import argparse
from typing import Any

import uvloop

from minuet.commands.flags import add_redis_flags
from minuet.commands.running import say, serve_parts, settings_from_environment
from minuet.settings import require
from minuet.supervisor.lifeline import Post
from minuet.supervisor.running import supervise
from minuet.telemetry import configure_logs
from minuet.wiring.http import Offers
from minuet.wiring.roles import Parts

_MOST = 256


def add(commands: Any) -> None:
    parser = commands.add_parser("serve", help="a hub: WebSocket, REST and pages")
    add_redis_flags(parser)
    parser.add_argument(
        "--all-in-one", action="store_true", help="also the matchmaker and the worker, in one process"
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="so many processes on one port, kept alive by a supervisor; SIGHUP replaces them one by one",
    )
    parser.add_argument(
        "--role",
        type=Offers,
        choices=tuple(Offers),
        default=Offers.BOTH,
        metavar="{both,hub,rest}",
        help="serve only WebSocket (hub), or only REST and pages (rest)",
    )
    # How the supervisor starts its workers, and nobody else.
    parser.add_argument("--post", type=Post.parse, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    # All that is missing is said at once, and by the supervisor, not by each worker in turn.
    require(settings_from_environment(), "redis_url", "database_url", "auth_secret")
    everything = bool(options.all_in_one)
    offers: Offers = options.role
    if options.workers is not None:
        arguments = ["serve", "--role", offers.value, *(["--all-in-one"] if everything else [])]
        return _supervise(options.workers, arguments)
    parts = Parts(hub=True, matchmaker=everything, worker=everything, offers=offers)
    return serve_parts(parts, options.post)


def _supervise(workers: int, arguments: list[str]) -> int:
    settings = settings_from_environment()
    configure_logs(settings)
    return uvloop.run(supervise(settings, workers, arguments, say))


def _workers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"between 1 and {_MOST}")
    return number
