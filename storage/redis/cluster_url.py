"""One URL that names several nodes of a cluster: `redis://user:password@one:6379,two:6379`.

Decides how such a URL is read. What is not about a node (scheme, user, password, query) goes for all of them, also for those
that only the cluster itself names.
"""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from storage.redis.slots import Address

PORT: Final = 6379
_SCHEMES: Final = ("redis", "rediss")


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """Where a cluster can be asked at first, and how to talk to its nodes."""

    seeds: tuple[Address, ...]
    _parts: SplitResult

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises: ValueError, which says nothing of user or password."""
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ValueError(
                f"a cluster's nodes are reached by {' or '.join(_SCHEMES)}, not {parts.scheme!r}"
            )
        if parts.path not in ("", "/", "/0"):
            raise ValueError("a cluster has database 0 only")
        hosts = parts.netloc.rpartition("@")[2].split(",")
        return cls(tuple(dict.fromkeys(_address(host.strip()) for host in hosts)), parts)

    def of(self, node: Address) -> str:
        """The URL of one node."""
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}{node}").geturl()


def names_several(url: str) -> bool:
    """Whether a URL names more than one server."""
    return "," in urlsplit(url).netloc.rpartition("@")[2]


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError(f"not a host, or a host and a port: {text!r}")
    return Address(host, PORT if port is None else port)
