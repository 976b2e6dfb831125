"""What the TURN settings come to: servers for clients, ranges for the filter, what hidden addresses need.

Decides the default of `ip_privacy`, here and nowhere else. Refuses settings with which calls would silently fail or
leak: a TURN server without its secret, hidden addresses without a TURN server.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from base.policy import IpPrivacy
from minuet.settings import PREFIX, InvalidSettings, Settings
from signaling.candidates import RelayRange, RelayRanges
from signaling.turn import IceServers, TurnServers

VISITS_AFTER_S = (0, 5)
"""When a call's allocations are ended after its media; once more when no credential of it can hold any longer."""
_CLOCKS_APART_S = 5
_MIN_SECRET_LENGTH = 16
# It is typed into a line of a terminal.
_ONE_LINE = re.compile(r"[!-~]{1,128}")


def ice_servers(settings: Settings) -> IceServers:
    """What clients are told of. Raises: InvalidSettings."""
    if not settings.turn_urls:
        return IceServers(settings.stun_urls)
    for url in settings.turn_urls:
        if not url.startswith(("turn:", "turns:")):
            raise InvalidSettings(f"turn_urls: {url} does not begin with turn: or turns:")
    if settings.turn_secret is None or len(settings.turn_secret) < _MIN_SECRET_LENGTH:
        raise InvalidSettings(
            f"turn_secret: needed with turn_urls, at least {_MIN_SECRET_LENGTH} characters"
            " (coturn's static-auth-secret)"
        )
    return IceServers(
        settings.stun_urls,
        TurnServers(settings.turn_urls, settings.turn_secret, settings.turn_credential_s * 1000),
    )


def relay_ranges(settings: Settings) -> RelayRanges:
    """Where our TURN servers relay: no candidate from elsewhere is a relayed one. Raises: InvalidSettings."""
    if not settings.turn_urls:
        return RelayRanges()
    if not settings.turn_relay_addresses:
        raise InvalidSettings(
            "turn_relay_addresses: needed with turn_urls (coturn's relay-ip or external-ip)"
        )
    networks = tuple(_network(text) for text in settings.turn_relay_addresses)
    first, separator, last = settings.turn_relay_ports.partition("-")
    try:
        return RelayRanges((RelayRange(networks, int(first), int(last if separator else first)),))
    except ValueError as error:
        raise InvalidSettings(f"turn_relay_ports: {error}") from None


def admin_addresses(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Host and port of each TURN server's admin interface. Raises: InvalidSettings."""
    if settings.turn_admin and not settings.turn_admin_password:
        raise InvalidSettings("turn_admin_password: needed with turn_admin (coturn's cli-password)")
    if settings.turn_admin_password and not _ONE_LINE.fullmatch(settings.turn_admin_password):
        raise InvalidSettings("turn_admin_password: printable ASCII without spaces, at most 128 characters")
    return tuple(_address(text) for text in settings.turn_admin)


def visits_after_ms(settings: Settings) -> tuple[int, ...]:
    """When to end the allocations of a call whose media is over, ms from then; empty without TURN servers."""
    if not (settings.turn_urls or settings.turn_admin):
        return ()
    expired_s = settings.turn_credential_s + _CLOCKS_APART_S
    return tuple(after_s * 1000 for after_s in (*VISITS_AFTER_S, expired_s))


def with_ip_privacy(settings: Settings) -> Settings:
    """The settings of a process that makes calls, each intent's `ip_privacy` decided. Raises: InvalidSettings."""
    for read in (ice_servers, relay_ranges, admin_addresses):
        read(settings)
    default = IpPrivacy.RELAY if settings.turn_urls else IpPrivacy.OFF
    intents = {
        name: policy if policy.ip_privacy else msgspec.structs.replace(policy, ip_privacy=default)
        for name, policy in settings.intents.items()
    }
    exposed = [name for name, policy in intents.items() if policy.hides_addresses and not settings.turn_urls]
    if exposed:
        raise InvalidSettings(
            f'intents.{exposed[0]}: ip_privacy = "relay" needs TURN servers ({PREFIX}TURN_URLS)'
        )
    return msgspec.structs.replace(settings, intents=intents)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidSettings(f"turn_relay_addresses: {error}") from None


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise InvalidSettings(f"turn_admin: {text} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
