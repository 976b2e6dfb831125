"""A process of Minuet as `minuet serve` runs it, with limits that a benchmark does not reach.

    python -m loadtests.hub.server [--parts hub|serve|matchmaker|worker|all]

Settings come from the environment as ever. The limits are checked as ever: only their numbers are higher, since a
pair here relays in a second what people relay in a day.
"""

import argparse
from typing import Final

import uvloop

from minuet.commands.running import settings_from_environment
from minuet.telemetry import configure_logs
from minuet.wiring.roles import Addresses, Parts, run_process
from signaling.session.limits import Rate, SessionLimits

_PLENTY: Final = Rate(1_000_000, 1_000_000)
LIMITS: Final = SessionLimits(messages=_PLENTY, candidates=_PLENTY, queue_joins=_PLENTY)
PARTS: Final = {
    "hub": Parts(hub=True, worker=True),
    "serve": Parts(hub=True),
    "matchmaker": Parts(matchmaker=True),
    "worker": Parts(worker=True),
    "all": Parts(hub=True, matchmaker=True, worker=True),
}


def announce(addresses: Addresses) -> None:
    """Says that the process serves, and where: the public port, else the admin port."""
    print(f"ready {(addresses.public or addresses.admin).rpartition(':')[2]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", choices=sorted(PARTS), default="all")
    options = parser.parse_args()
    settings = settings_from_environment()
    configure_logs(settings)
    uvloop.run(run_process(settings, PARTS[options.parts], started=announce, limits=LIMITS))


if __name__ == "__main__":
    main()
