"""Addresses planted anywhere in real descriptions: none passes."""

import contextlib
import re
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.addresses import filter_description
from signaling.sdp import SdpRefused, parse
from tests.unit.signaling.gate.hiding import CAPTURED, HIDDEN, hide

CANARIES = (
    "203.0.113.9",
    "fd00::bad",
    "2001:db8:0:0:0:0:bad:9",
    "::ffff:203.0.113.9",
    "canary.local",
    "canary.example.org",
)
PLACES = (
    "a=candidate:1 1 udp 5 {} 50004 typ relay raddr 0.0.0.0 rport 0",
    "a=candidate:1 1 udp 5 198.51.100.7 50004 typ relay raddr {} rport 40000",
    "a=candidate:1 1 udp 5 198.51.100.7 50004 typ relay raddr 1.1.1.1 rport 0 x {} generation {}",
    "a=candidate:{} 1 udp 5 198.51.100.7 50004 typ relay",
    "a=candidate:1 1 tcp 5 {} 9 typ host tcptype active",
    "a=remote-candidates:1 {} 40000",
    "a=rtcp:40000 IN IP6 {}",
    "a=ssrc:77 cname:{}",
    "a=mid:{}",
    "a=ice-options:{}",
    "a=x-anything:{}",
    "a={}",
    "a=rid:{} send",
    "a=extmap:9 http://{}/",
    "a=extmap:9 urn:ietf:params:{}",
    "a=fingerprint:sha-256 {}",
    "a=setup:{}",
    "a=group:BUNDLE 0 {}",
    "c=IN IP4 {}",
    "c=IN IP6 {}/127/3",
    "o={} 1 1 IN IP4 {}",
    "s={}",
    "i={}",
    "u=http://{}/",
    "e=me@{}",
    "p={}",
    "b=AS:{}",
    "k=uri:http://{}",
    "t=0 {}",
    "m=text 9 UDP {}",
    "m=text 9 {} 96",
    "z={}",
    "{}",
)


@st.composite
def planted(draw: st.DrawFn) -> str:
    """A real description with foreign addresses in some of its fields, lines doubled, moved and taken out."""
    lines = CAPTURED[draw(st.sampled_from(sorted(CAPTURED)))].split("\r\n")[:-1]
    for _ in range(draw(st.integers(1, 5))):
        canary = draw(st.sampled_from(CANARIES))
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["line", "field", "end", "double", "remove", "flip"])):
            case "line":
                lines.insert(at, draw(st.sampled_from(PLACES)).replace("{}", canary))
            case "field":
                fields = re.split(r"([ :=;/,])", lines[at])
                fields[2 * draw(st.integers(0, len(fields) // 2))] = canary
                lines[at] = "".join(fields)
            case "end":
                lines[at] += draw(st.sampled_from(["", " ", ":", ";"])) + canary
            case "double":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "remove":
                del lines[at]
            case _:
                lines[at] = lines[at].swapcase()
    return draw(st.sampled_from(["\r\n", "\n"])).join([*lines, ""])


def addresses_in(sdp: str) -> set[str]:
    """All words that are an address, with whatever stands around them cut off."""
    found = set()
    for word in re.split(r"[ =;/,\r\n@\[\]]", sdp):
        for text in (word, word.partition(":")[2]):
            with contextlib.suppress(ValueError):
                found.add(str(ip_address(text)))
    return found


@given(planted())
@settings(max_examples=600, deadline=None)
def test_no_planted_address_passes_in_any_field(sdp: str) -> None:
    """Refused, or without a trace of it; what is left has the same sections, and passing again changes nothing."""
    try:
        before = parse(sdp)
        passing = filter_description(sdp, before, HIDDEN)
    except SdpRefused:
        return

    for canary in CANARIES:
        assert canary not in passing.sdp.lower()
    assert addresses_in(passing.sdp) <= {"0.0.0.0", "198.51.100.7"}  # noqa: S104  read, not bound
    assert parse(passing.sdp) == before
    assert hide(passing.sdp).sdp == passing.sdp
