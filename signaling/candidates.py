"""The candidate filter: which network addresses may reach the other side of a call.

Decides by shape and by configured ranges alone. That a candidate calls itself `typ relay` proves nothing: a forged
one makes a browser send packets from its real socket, so only addresses and ports at which our TURN servers relay
count as relayed. Sources: RFC 8839 (the grammar), RFC 8838 (trickle), RFC 8445 (foundations).
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


@dataclass(frozen=True, slots=True)
class RelayRange:
    """Where one TURN server relays: its external addresses, and its ports from the first to the last.

    Raises: ValueError for ports that are none, and for no network at all.
    """

    networks: tuple[IPv4Network | IPv6Network, ...]
    first_port: int = 49_152
    last_port: int = 65_535

    def __post_init__(self) -> None:
        if not 1 <= self.first_port <= self.last_port <= 65_535:
            raise ValueError(f"{self.first_port}-{self.last_port} is no range of ports")
        if not self.networks:
            raise ValueError("a TURN server relays at one address at least")


@dataclass(frozen=True, slots=True)
class RelayRanges:
    """The ranges of all our TURN servers. Without any, nothing is inside."""

    servers: tuple[RelayRange, ...] = ()

    def contain(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether one of the servers relays at this address and port."""
        return any(
            server.first_port <= port <= server.last_port
            and any(address in network for network in server.networks)
            for server in self.servers
        )
