"""Which address a request comes from, behind proxies or not.

Pure but for reading the request. `X-Forwarded-For` is believed from its right end only as far as trusted proxies
wrote it: the first address from the right that is not a trusted proxy is the client; whatever stands left of it the
client may have made up.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import web

Address = IPv4Address | IPv6Address

UNKNOWN = "unknown"
# A chain longer than this is an attack or a loop; what is left of it is not looked at.
LONGEST_CHAIN = 32
SUBSCRIBER_PREFIX = 64
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks that our own proxies connect from. Empty: nobody's headers are believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, networks: Iterable[str]) -> "TrustedProxies":
        """From texts such as `10.0.0.0/8` or `::1`.

        Raises:
            ValueError: one of them is not a network, or has bits outside its mask.
        """
        return cls(tuple(ip_network(network.strip()) for network in networks))

    def trusts(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def client_address(request: web.BaseRequest, trusted: TrustedProxies) -> str:
    """The client's address in its shortest form; `unknown` on a socket that has none."""
    return forwarded_client(request.remote or "", request.headers.getall("X-Forwarded-For", ()), trusted)


def forwarded_client(peer: str, forwarded_for: Sequence[str], trusted: TrustedProxies) -> str:
    """The same from the peer's address and the texts of the header."""
    if not trusted.networks and _IPV4.fullmatch(peer):
        return peer  # as the kernel says it: nothing to be shortened, and nobody behind it to be looked for
    address = parse_address(peer)
    if address is None:
        return UNKNOWN
    if not trusted.networks or not trusted.trusts(address):
        return str(address)
    return str(_behind(address, ",".join(forwarded_for), trusted))


def subscriber(address: str) -> str:
    """What limits are counted by: an IPv4 address, or the IPv6 network that one subscriber gets whole."""
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return (
            str(IPv6Network((parsed, SUBSCRIBER_PREFIX), strict=False).network_address)
            + f"/{SUBSCRIBER_PREFIX}"
        )
    return address


def parse_address(text: str) -> Address | None:
    """An address, perhaps with a port or in brackets; an IPv4 address mapped into IPv6 as IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # A zone (fe80::1%eth0) names an interface of the sender's machine.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _behind(peer: Address, forwarded_for: str, trusted: TrustedProxies) -> Address:
    client = peer
    for hop in forwarded_for.rsplit(",", LONGEST_CHAIN)[::-1][:LONGEST_CHAIN]:
        if not trusted.trusts(client):
            break
        address = parse_address(hop)
        if address is None:
            # Not written by a proxy of ours, or it has none: the proxy that passed it on is all we know.
            break
        client = address
    return client
