"""The candidate filter: which network addresses of a candidate may reach the other side of a call.

Decides by shape and by configured ranges alone. That a candidate calls itself `typ relay` proves nothing: a forged
one makes a browser send packets from its real socket, so only addresses and ports at which our TURN servers relay
count as relayed. What passes then is written anew from what was understood, so that nothing rides along unread.
Sources: RFC 8839 section 5.1 (the grammar), RFC 8838 (trickle), RFC 8445 section 5.1.1.3 (foundations).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from zlib import crc32

import msgspec

from base.errors import ErrorCode, MinuetError
from signaling.protocol.messages.call import IceCandidate
from signaling.sdp import UFRAG, Description

_CANDIDATE: Final = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} (\d{1,3}) ([A-Za-z0-9-]{1,16}) (\d{1,10}) ([A-Za-z0-9._:-]{1,255}) (\d{1,5})"
    r" typ ([A-Za-z0-9-]{1,16})((?: [!-~]++ [!-~]++)*+)",
    re.ASCII,  # or \d takes the digits of all scripts
)
_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_MAX_PRIORITY: Final = 2**31 - 1
_MAX_COMPONENT: Final = 256
_MAX_PORT: Final = 65_535

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class RelayRange:
    """Where one TURN server relays: its external addresses, and its ports from the first to the last.

    Raises: ValueError for ports that are none, and for no network at all.
    """

    networks: tuple[IPv4Network | IPv6Network, ...]
    first_port: int = 49_152
    last_port: int = _MAX_PORT

    def __post_init__(self) -> None:
        if not 1 <= self.first_port <= self.last_port <= _MAX_PORT:
            raise ValueError(f"{self.first_port}-{self.last_port} is no range of ports")
        if not self.networks:
            raise ValueError("a TURN server relays at one address at least")


@dataclass(frozen=True, slots=True)
class RelayRanges:
    """The ranges of all our TURN servers. Without any, nothing is inside."""

    servers: tuple[RelayRange, ...] = ()

    def contain(self, address: Address, port: int) -> bool:
        """Whether one of the servers relays at this address and port."""
        for server in self.servers:
            if server.first_port <= port <= server.last_port:
                for network in server.networks:
                    if address in network:
                        return True
        return False


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Which addresses may pass in a call."""

    relay_only: bool = False
    """Only those in `ranges`; else any, and then only the form is checked."""
    ranges: RelayRanges = RelayRanges()


class Outcome(StrEnum):
    """What became of a candidate. Only `passed` ones go on; the others are counted, and nobody is told."""

    PASSED = "passed"
    NOT_RELAYED = "not_relayed"
    """An address of the peer's own, or the mDNS name of one: host, server or peer reflexive."""
    NOT_UDP = "not_udp"
    HOSTNAME = "hostname"
    """It says relay, but names no address: whoever resolves the name may learn something else."""
    OUTSIDE_RANGES = "outside_ranges"
    """It says relay, but none of our servers relays there."""
    FOREIGN = "foreign"
    """Of a section or of credentials that its description does not have: mostly late, after an ICE restart."""


class CandidateInvalid(MinuetError):
    """The text is no candidate."""

    code = ErrorCode.CANDIDATE_INVALID


class Candidate(msgspec.Struct, frozen=True):
    """A candidate as far as it matters here; its own foundation and related address are not even read.

    Made for every one that is relayed, hence not a dataclass, which takes longer.
    """

    component: int
    transport: str
    priority: int
    host: str
    """An address or a name."""
    port: int
    type: str
    tail: str
    """Related address and port and the extensions: pairs of words, each with a space ahead."""

    @property
    def ufrag(self) -> str | None:
        """Whose credentials it belongs to, where it says so."""
        return _ufrag(self.tail)

    @property
    def address(self) -> Address | None:
        """None for a host name."""
        return _address(self.host)

    def relayed(self, ranges: RelayRanges) -> tuple[Outcome, str | None]:
        """Judges it where only relayed addresses may pass. Returns: with `PASSED` the text that may go on."""
        if self.transport.lower() != "udp":
            return Outcome.NOT_UDP, None
        if self.type != "relay":
            return Outcome.NOT_RELAYED, None
        address = self.address
        if address is None:
            return Outcome.HOSTNAME, None
        if not ranges.contain(address, self.port):
            return Outcome.OUTSIDE_RANGES, None
        return Outcome.PASSED, self._rewritten(address)

    def _rewritten(self, address: Address) -> str:
        """The candidate without anything that could tell another address."""
        nowhere = "0.0.0.0" if address.version == 4 else "::"  # noqa: S104  said, not bound
        # RFC 8445: the same for candidates of the same type, server and base, which for a relayed one is its own
        # address. Stacks make theirs by hashing addresses, and hashes of so few values can be turned round.
        foundation = crc32(address.packed)
        return (
            f"candidate:{foundation} {self.component} udp {self.priority} {address} {self.port}"
            f" typ relay raddr {nowhere} rport 0{''.join(_known(_pairs(self.tail)))}"
        )


def parse(text: str) -> Candidate:
    """A candidate attribute without its `a=`. Raises: CandidateInvalid."""
    return Candidate(*_parts(text))


def _parts(text: str) -> tuple[int, str, int, str, int, str, str]:
    """What a `Candidate` is made of. Raises: CandidateInvalid."""
    found = _CANDIDATE.fullmatch(text)
    if found is None:
        raise CandidateInvalid("not of the form candidate:... (RFC 8839)")
    component_text, transport, priority_text, host, port_text, type_, tail = found.groups()
    component, priority, port = int(component_text), int(priority_text), int(port_text)
    if not (1 <= component <= _MAX_COMPONENT and 1 <= priority <= _MAX_PRIORITY and port <= _MAX_PORT):
        raise CandidateInvalid("a number of the candidate is out of its range")
    if " ufrag " in tail and tail.count(" ufrag ") > 1:
        raise CandidateInvalid("a candidate belongs to one ufrag")
    return component, transport, priority, host, port, type_, tail


@lru_cache(maxsize=1024)
def _address(host: str) -> Address | None:
    """Those of our servers come again and again, and the standard library takes long to read one."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _ufrag(tail: str) -> str | None:
    if " ufrag " not in tail:
        return None
    return next((value for name, value in _pairs(tail) if name == "ufrag"), None)


def _pairs(tail: str) -> Iterable[tuple[str, str]]:
    words = tail.split(" ")
    return zip(words[1::2], words[2::2], strict=True)


def filter_trickled(
    arrived: Sequence[IceCandidate], description: Description, rule: AddressRule
) -> tuple[list[IceCandidate], list[Outcome]]:
    """What may go on of the candidates of a description, and what became of each of them.

    Raises: CandidateInvalid if one of them is malformed.
    """
    passing: list[IceCandidate] = []
    outcomes: list[Outcome] = []
    for trickled in arrived:
        # An empty text says that a section has no more of them (RFC 8838 section 13).
        parts = _parts(trickled.candidate) if trickled.candidate else None
        outcome = Outcome.PASSED
        if not _belongs(trickled, None if parts is None else _ufrag(parts[-1]), description):
            outcome = Outcome.FOREIGN
        elif parts is None or not rule.relay_only:
            passing.append(trickled)
        else:
            outcome, text = Candidate(*parts).relayed(rule.ranges)
            if text is not None:
                passing.append(IceCandidate(candidate=text, mid=trickled.mid, ufrag=trickled.ufrag))
        outcomes.append(outcome)
    return passing, outcomes


def check_trickled(arrived: Iterable[IceCandidate]) -> None:
    """Looks at the form alone, while the description is still to come. Raises: CandidateInvalid."""
    for trickled in arrived:
        if trickled.candidate:
            _parts(trickled.candidate)


def _belongs(trickled: IceCandidate, inside: str | None, description: Description) -> bool:
    """Whether the description has such a section, with the credentials that the candidate names, once or twice."""
    mid, ufrag = trickled.mid, trickled.ufrag
    for section in description.sections:
        if (
            (mid is None or mid == section.mid)
            and (ufrag is None or ufrag == section.ufrag)
            and (inside is None or inside == section.ufrag)
        ):
            return True
    return False


def _known(extensions: Iterable[tuple[str, str]]) -> Iterable[str]:
    """The extensions of which it is known that they hold no address."""
    for name, value in extensions:
        match name:
            case "generation" | "network-id" | "network-cost" if _NUMBER.fullmatch(value):
                yield f" {name} {value}"
            case "ufrag" if UFRAG.fullmatch(value):
                yield f" {name} {value}"
            case _:
                pass
