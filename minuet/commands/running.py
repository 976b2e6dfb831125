"""What the commands that serve have in common: settings from the environment, logs, uvloop."""

import os
from collections.abc import Mapping
from typing import Any

import uvloop

from minuet.dev_state import beside_dev
from minuet.settings import Settings, load
from minuet.supervisor.lifeline import Post
from minuet.telemetry import configure_logs
from minuet.wiring.roles import Addresses, Parts, run_process


def settings_from_environment(defaults: Mapping[str, Any] | None = None) -> Settings:
    """Raises: InvalidSettings."""
    return load(os.environ, defaults)


def settings_of_a_tool() -> Settings:
    """As above, for a command beside the service: what is not set is taken from a running `minuet dev`."""
    return beside_dev(settings_from_environment())


def serve_parts(parts: Parts, post: Post | None = None) -> int:
    """Runs a process of this role until it is told to stop."""
    settings = settings_from_environment()
    configure_logs(settings, worker=None if post is None else post.number)
    uvloop.run(run_process(settings, parts, started=say, post=post))
    return 0


def say(addresses: Addresses) -> None:
    """Prints where the process listens: the one thing that scripts wait for on standard output."""
    if addresses.public is not None:
        print(f"public {addresses.public}", flush=True)
    print(f"admin {addresses.admin}", flush=True)
