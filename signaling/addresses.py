"""Addresses in session descriptions: what may stand there where the two must not learn each other's.

Decides line by line, from a list of what is known: a line of a known form that has no room for an address passes, a
line that has to name one is given one that says nothing, and all others are left out, since nobody can say what a
future browser writes there. No `m=` line is ever added, left out or moved, so the sections of both sides stay aligned.
docs/consent.md has the table of lines and reasons. Sources: RFC 8866, RFC 8839, RFC 8829 section 5.2.1.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from signaling.candidates import AddressRule, Candidate, CandidateInvalid, Outcome, parse
from signaling.sdp import Description, MediaSection, SdpRefused

MAX_CANDIDATES: Final = 40
"""In one description. As many as may be trickled."""

# A text address has dots, or at least two colons. So values without either hold none; where a known attribute has
# them (URIs of header extensions, fingerprints, sources), its form leaves no room for one.
_PLAIN_VALUE: Final = r"[^.:\r\n]*+"
_KNOWN: Final = "|".join(
    (
        # The most frequent first: the pattern is tried on every line.
        rf"(?:rtpmap|rtcp-fb|fmtp|mid|msid|msid-semantic|ssrc-group|ice-ufrag|ice-pwd|ice-options|setup|group|rid"
        rf"|rtcp-xr|simulcast|sctp-port|sctpmap|max-message-size|ptime|maxptime|tls-id|packetization|x-google-flag):{_PLAIN_VALUE}",
        r"extmap:\d{1,5}(?:/[a-z]{8})? (?:urn:(?:ietf:params|3gpp)(?::[a-z0-9-]++){1,3}"
        r"|https?://(?:www\.webrtc\.org|www\.ietf\.org|tools\.ietf\.org|aomediacodec\.github\.io)/[\w/#-]*+)"
        rf"(?: {_PLAIN_VALUE})?",
        rf"ssrc:\d{{1,10}} (?:cname|msid|mslabel|label):{_PLAIN_VALUE}",
        r"sendrecv|sendonly|recvonly|inactive|bundle-only|rtcp-mux-only|rtcp-mux|rtcp-rsize|extmap-allow-mixed"
        r"|ice-lite|end-of-candidates",
        r"fingerprint:[\w-]{1,16} [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63}",
        r"rtcp:9 IN IP4 0\.0\.0\.0",
    )
)
_PASSING: Final = re.compile(
    rf"(?:(?:a=(?:{_KNOWN})|m=[a-z]++ [09] [A-Za-z0-9/ -]++|c=IN IP4 0\.0\.0\.0|b=(?:AS|TIAS):\d{{1,10}}"
    r"|v=0|s=-|t=\d{1,20} \d{1,20})\r?\n)*+"
)
"""As many lines as pass as they are."""

_ORIGIN: Final = re.compile(r"o=[^ ]++ (\d{1,20}) (\d{1,20}) ")
_MEDIA: Final = re.compile(r"(m=[a-z]+) \d+ ([A-Za-z0-9/ -]+)")
_CANDIDATE_LINE: Final = re.compile(r"\na=(candidate:[^\r\n]*)")
_NEEDED: Final = re.compile(r"a=(?:mid|group|ice-pwd|fingerprint):")
"""Without these a description would say something else, or nothing. A ufrag always passes: the gate knows its form."""


class Passing(msgspec.Struct, frozen=True):
    """A description as it may go on."""

    sdp: str
    candidates: tuple[Outcome, ...] = ()
    """What became of each candidate in it."""
    left_out: int = 0
    """Other lines that are not passed on."""


def filter_description(sdp: str, description: Description, rule: AddressRule) -> Passing:
    """A parsed description as the rule lets it pass.

    Raises: SdpRefused for malformed candidates, too many, or addresses where nothing can be left out.
    """
    if not rule.relay_only:
        return Passing(sdp, _checked(sdp, description))
    return _Rewriting(sdp, description, rule).passing()


class _Rewriting:
    """One pass over the lines of a description."""

    def __init__(self, sdp: str, description: Description, rule: AddressRule) -> None:
        self._sdp = sdp
        self._description = description
        self._rule = rule
        self._outcomes: list[Outcome] = []
        self._left_out = 0

    def passing(self) -> Passing:
        sdp, kept, at = self._sdp, [], 0
        while True:
            run = _PASSING.match(sdp, at)
            assert run is not None  # noqa: S101  it matches nothing, too
            if run.end() > at:
                kept.append(run[0])
                at = run.end()
            if at == len(sdp):
                return Passing("".join(kept), tuple(self._outcomes), self._left_out)
            end = sdp.index("\n", at) + 1
            line = sdp[at:end].rstrip("\r\n")
            instead = self._instead(line, at)
            if instead is not None:
                kept += instead, sdp[at + len(line) : end]
            at = end

    def _instead(self, line: str, at: int) -> str | None:
        """What stands for a line that does not pass as it is; None where nothing does."""
        match line[0]:
            case "o":
                # The user's name and address say who; number and version are what browsers look at.
                origin = _ORIGIN.match(line)
                return f"o=- {origin[1]} {origin[2]} IN IP4 0.0.0.0" if origin else "o=- 0 0 IN IP4 0.0.0.0"
            case "c":
                return "c=IN IP4 0.0.0.0"
            case "m":
                media = _MEDIA.fullmatch(line)
                assert media is not None  # noqa: S101  the gate has parsed it
                return f"{media[1]} 9 {media[2]}"
            case "s":
                return "s=-"
            case "t":
                return "t=0 0"
            case "a":
                return self._attribute(line, at)
            case _:
                self._left_out += 1
                return None

    def _attribute(self, line: str, at: int) -> str | None:
        if line.startswith("a=candidate:"):
            return self._candidate(line, at)
        if line.startswith("a=rtcp:"):
            return "a=rtcp:9 IN IP4 0.0.0.0"
        if _NEEDED.match(line):
            raise SdpRefused(
                f"a {line[2 : line.index(':')]} of this form may not pass while addresses are hidden"
            )
        self._left_out += 1
        return None

    def _candidate(self, line: str, at: int) -> str | None:
        section = _section_at(self._sdp, at, self._description)
        candidate = _parse(line[2:], section)
        # Belongs to no section, where it stands in the session's part.
        outcome, text = (Outcome.FOREIGN, None) if section is None else candidate.relayed(self._rule.ranges)
        self._outcomes.append(outcome)
        _bound(self._outcomes)
        return None if text is None else f"a={text}"


def _checked(sdp: str, description: Description) -> tuple[Outcome, ...]:
    """Looks at the form of the candidates alone."""
    if "\na=candidate:" not in sdp:
        return ()
    outcomes: list[Outcome] = []
    for found in _CANDIDATE_LINE.finditer(sdp):
        _parse(found[1], _section_at(sdp, found.start(1), description))
        outcomes.append(Outcome.PASSED)
        _bound(outcomes)
    return tuple(outcomes)


def _parse(text: str, section: MediaSection | None) -> Candidate:
    try:
        candidate = parse(text)
    except CandidateInvalid as invalid:
        raise SdpRefused(f"a candidate is malformed: {invalid.message}") from None
    if section is not None and candidate.ufrag not in (None, section.ufrag):
        raise SdpRefused("a candidate names other credentials than its section")
    return candidate


def _section_at(sdp: str, at: int, description: Description) -> MediaSection | None:
    """The section that the text at this place belongs to; None for the session's part."""
    before = sdp.count("\nm=", 0, at)
    return description.sections[before - 1] if before else None


def _bound(outcomes: Sequence[Outcome]) -> None:
    if len(outcomes) > MAX_CANDIDATES:
        raise SdpRefused(f"a description has at most {MAX_CANDIDATES} candidates")
