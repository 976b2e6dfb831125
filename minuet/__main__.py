"""The command line: `minuet <command>`; one file for each command in `minuet.commands`."""

import argparse
import os
import sys
from collections.abc import Sequence

from base.errors import Unavailable
from minuet.commands import (
    asyncapi,
    check_config,
    check_consent,
    create_admin,
    default_config,
    default_env,
    dev,
    docs,
    healthcheck,
    matchmaker,
    migrate,
    openapi,
    serve,
    token,
    worker,
)
from minuet.commands.flags import into_environment
from minuet.embedded.errors import EmbeddedServerError
from minuet.settings import InvalidSettings
from storage.postgres.migrations import MigrationError

_COMMANDS = (
    dev,
    serve,
    matchmaker,
    worker,
    migrate,
    create_admin,
    token,
    check_config,
    check_consent,
    default_config,
    default_env,
    healthcheck,
    openapi,
    asyncapi,
    docs,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status. What an operator can mend is said in one line, not as a traceback."""
    parser = argparse.ArgumentParser(
        prog="minuet", description="Server core for timed one-to-one voice calls."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="<command>")
    for command in _COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    into_environment(options, os.environ)
    try:
        status: int = options.run(options)
    except (InvalidSettings, MigrationError, EmbeddedServerError) as error:
        print(f"minuet: {error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        # Not the operator's mistake, and over sooner or later: whoever started us may simply try again.
        print(f"minuet: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"minuet: {error.strerror or error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
