"""Settings that are flags as well. Flags win over the environment and the file."""

import argparse
from collections.abc import MutableMapping

from minuet.settings import PREFIX


def add_redis_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--redis-cluster",
        action="store_true",
        help=f"Redis is a cluster, and {PREFIX}REDIS_URL leads to any of its nodes",
    )


def into_environment(options: argparse.Namespace, environ: MutableMapping[str, str]) -> None:
    """Sets what flags said, also for the processes that this one starts."""
    if getattr(options, "redis_cluster", False):
        environ[f"{PREFIX}REDIS_CLUSTER"] = "true"
