"""Real servers as children of ours, for `minuet dev` and for tests: nothing to install or configure."""

from minuet.embedded.errors import (
    EmbeddedServerError,
    ServerFailed,
    ServerNotFound,
    StateFolderInUse,
    StateFolderUnusable,
)
from minuet.embedded.postgres import EmbeddedPostgres
from minuet.embedded.servers import Servers, embedded_servers
from minuet.embedded.valkey import EmbeddedValkey

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "ServerFailed",
    "ServerNotFound",
    "Servers",
    "StateFolderInUse",
    "StateFolderUnusable",
    "embedded_servers",
]
