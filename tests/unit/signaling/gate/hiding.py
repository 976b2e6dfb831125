"""Real descriptions and others, and what is left of them where addresses are hidden."""

from ipaddress import ip_network
from pathlib import Path

from signaling.addresses import Passing, filter_description
from signaling.candidates import AddressRule, RelayRange, RelayRanges
from signaling.sdp import parse
from tests.fixtures.sdp import audio, description

HIDDEN = AddressRule(
    relay_only=True,
    ranges=RelayRanges((RelayRange((ip_network("198.51.100.7/32"), ip_network("2001:db8:7::/64"))),)),
)
OPEN = AddressRule()
RELAYED = "a=candidate:99 1 udp 41885439 198.51.100.7 50004 typ relay raddr 203.0.113.9 rport 40004"
# Of Chromium 156 and aiortc 1.16 as they came; Firefox's is written after its form.
CAPTURED = {
    path.stem: path.read_bytes().decode() for path in (Path(__file__).parent / "captured").glob("*.sdp")
}


def hide(sdp: str, rule: AddressRule = HIDDEN) -> Passing:
    return filter_description(sdp, parse(sdp), rule)


def with_line(line: str, *, where: str = "section") -> str:
    """A voice description with one more line."""
    voice = description(audio() + "a=ice-ufrag:aaaa\r\n")
    if where == "section":
        return f"{voice}{line}\r\n"
    return voice.replace("t=0 0\r\n", f"t=0 0\r\n{line}\r\n")
