"""The SDP gate: whether a session description may reach the peer.

Decides by what is allowed at this moment: voice always, video per sender, data channels by policy. Judges each
description afresh, since browsers recycle rejected sections. Accepts or refuses, and never rewrites: rewriting
would break the alignment of `m=` lines between the peers. Sources: RFC 8866 (SDP), RFC 8829 (JSEP), RFC 9143
(BUNDLE).

The tokenizer is strict on purpose. A lenient one reads lines where a browser reads none (U+2028, a bare CR), and
so a section or direction could hide from it. Where browsers read one spelling differently, it is refused: Chromium
takes `a=sendrecv:x` and `a=bundle-only x` for the flags and a port of `00` for a live one, Firefox takes
`a=SENDRECV` and `a=:sendrecv`.
"""

import re
from itertools import pairwise
from typing import Final

import msgspec

from base.errors import ErrorCode, MinuetError

MAX_BYTES: Final = 16 * 1024
MAX_LINES: Final = 500
MAX_SECTIONS: Final = 8
_MAX_PORT: Final = 65_535

# Patterns over whole texts, since a loop over lines costs several times as much. None can backtrack far: what
# repeats is possessive, or stops at the end of the line. All are for lines that end with CRLF, as browsers' do.
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
# The name of an attribute is a token, and then the line ends or a colon follows (RFC 8866 section 9). To look for the
# next CR is the quickest; that no LF stands before it alone has been seen by then.
_LINES: Final = re.compile(r"(?:a=[!#-'*+.0-9A-Z^-~-]++(?::[^\r]*+\r\n|\r\n)|[b-z]=[^\r]*+\r\n)++")
_MEDIA: Final = re.compile(r"([a-z]+) (0|[1-9]\d{0,4}) ([A-Za-z0-9/]+)((?: [A-Za-z0-9-]++)++)(?=\r\n)")
_MID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,32}")
UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_BUNDLE: Final = re.compile(r"\na=group:BUNDLE([^\r]*)")
_ATTRIBUTE: Final = re.compile(
    # The letters ahead are for speed: most attributes are passed over by them.
    r"\na=(?=[BIMSRbimsr][CEINUceinu][ACDENacden])((?i:mid|sendrecv|sendonly|recvonly|inactive|bundle-only|ice-ufrag))(?=[:\r])([^\r]*)"
)
"""What matters of a section: name, and the value with its colon. In any case of letters, to refuse all but one."""
_SESSION_UFRAG: Final = re.compile(r"\na=ice-ufrag:([^\r]*)")


class SdpRefused(MinuetError):
    """The description may not pass; `code` says which rule it broke."""

    code = ErrorCode.SDP_INVALID


class MediaSection(msgspec.Struct, frozen=True):
    """What matters of one `m=` section."""

    kind: str
    mid: str | None
    direction: str
    live: bool
    """Whether media or data could flow: neither rejected, nor audio or video that is `inactive`."""
    ufrag: str | None = None
    """The ICE credentials' name for this section, its own or the session's: candidates have to name it."""


class Description(msgspec.Struct, frozen=True):
    """The sections of a session description, in order."""

    sections: tuple[MediaSection, ...]

    @property
    def has_live_video(self) -> bool:
        for section in self.sections:  # noqa: SIM110  a generator takes three times as long, and this is asked often
            if section.live and section.kind == "video":
                return True
        return False


class Allowance(msgspec.Struct, frozen=True):
    """What the sender of a description may do with it."""

    send_video: bool = False
    receive_video: bool = False
    """Whether the peer may send video, so that inviting it is allowed."""
    data_channels: bool = False


def parse(sdp: str) -> Description:
    """The sections of a description of the shape that WebRTC endpoints make.

    Raises: SdpRefused with `payload_too_large` or `sdp_invalid`.
    """
    if len(sdp) > MAX_BYTES:
        raise SdpRefused(f"a description has at most {MAX_BYTES} bytes", code=ErrorCode.PAYLOAD_TOO_LARGE)
    text, lines = _with_crlf(sdp)
    if not text.startswith("v=0\r\n"):
        raise SdpRefused("a description begins with v=0")
    if lines > MAX_LINES:
        raise SdpRefused(f"a description has at most {MAX_LINES} lines")
    if not _LINES.fullmatch(text):
        raise SdpRefused(f"line {_malformed_line(text)} is not of the form x=..., or does not end")
    bounds = []
    at = text.find("\nm=")
    while at >= 0:
        bounds.append(at)
        at = text.find("\nm=", at + 3)
    if not 1 <= len(bounds) <= MAX_SECTIONS:
        raise SdpRefused(f"a description has 1 to {MAX_SECTIONS} media sections")
    session = text[: bounds[0] + 1]
    ufrag = _session_ufrag(session)
    bounds.append(len(text))
    sections = tuple([_section(text, begin, end, ufrag) for begin, end in pairwise(bounds)])
    _check_mids(session, sections)
    return Description(sections)


def judge(description: Description, allowance: Allowance) -> None:
    """Accepts by returning. Raises: SdpRefused with the code of the rule that is broken."""
    audio = video = 0
    for section in description.sections:
        if not section.live:
            continue
        match section.kind:
            case "audio":
                audio += 1
            case "video":
                video += 1
                _judge_video(section, allowance)
            case "application" if allowance.data_channels:
                pass
            case _:
                raise SdpRefused(
                    f"m={section.kind} is not allowed in this call", code=ErrorCode.MEDIA_KIND_FORBIDDEN
                )
    if audio != 1:
        raise SdpRefused(f"a description has exactly one live m=audio, not {audio}")
    if video > 1:
        raise SdpRefused("a description has at most one live m=video", code=ErrorCode.MEDIA_KIND_FORBIDDEN)


def check_answer(offer: Description, answer: Description) -> None:
    """An answer has its offer's sections in number, kind and mid (RFC 8829 section 5.3.1). Raises: SdpRefused."""
    if len(offer.sections) != len(answer.sections):
        raise SdpRefused("the answer has another number of sections", code=ErrorCode.ANSWER_MISMATCH)
    for offered, answered in zip(offer.sections, answer.sections, strict=True):
        if offered.kind != answered.kind or offered.mid != answered.mid:
            raise SdpRefused("the answer's sections differ in kind or mid", code=ErrorCode.ANSWER_MISMATCH)


def _judge_video(section: MediaSection, allowance: Allowance) -> None:
    if section.direction in ("sendrecv", "sendonly") and not allowance.send_video:
        raise SdpRefused("sending video is not allowed", code=ErrorCode.VIDEO_NOT_ALLOWED)
    if section.direction in ("sendrecv", "recvonly") and not allowance.receive_video:
        raise SdpRefused("inviting video is not allowed", code=ErrorCode.VIDEO_NOT_ALLOWED)


def _with_crlf(sdp: str) -> tuple[str, int]:
    """The text with CRLF at the end of every line, and how many there are. Raises: SdpRefused for what is not plain text.

    A CR that stands alone, where its line ends with LF, is left to `_LINES`.
    """
    if sdp.isascii():
        ends = sdp.encode().translate(None, _PRINTABLE)
        lines = len(ends) // 2
        if ends == b"\r\n" * lines:
            return sdp, lines
        text = sdp.replace("\r\n", "\n")
        if not ends.strip(b"\r\n") and "\r" not in text:
            return text.replace("\n", "\r\n"), text.count("\n")
    raise SdpRefused("only printable ASCII in lines ended by CRLF or LF")


def _malformed_line(text: str) -> int:
    """The number of the first line that is malformed."""
    well_formed = _LINES.match(text)
    assert well_formed is not None  # noqa: S101  the first line is v=0
    return 1 + well_formed[0].count("\n")


def _section(text: str, begin: int, end: int, session_ufrag: str | None) -> MediaSection:
    """The section between the LF ahead of its `m=` and the one ahead of the next."""
    media = _MEDIA.match(text, begin + len("\nm="))
    if media is None or (port := int(media[2])) > _MAX_PORT:
        raise SdpRefused("malformed m= line")
    mid: str | None = None
    ufrag: str | None = None
    # Without a direction line a section sends and receives, whatever the session level says.
    direction = "sendrecv"
    bundle_only = False
    for name, value in _ATTRIBUTE.findall(text, begin + 1, end):
        match name:
            case "mid":
                if mid is not None or not _MID.fullmatch(value, 1):
                    raise SdpRefused("a section has one well-formed mid")
                mid = value[1:]
            case "ice-ufrag":
                if ufrag is not None or not UFRAG.fullmatch(value, 1):
                    raise SdpRefused("a section has one well-formed ice-ufrag")
                ufrag = value[1:]
            case "sendrecv" | "sendonly" | "recvonly" | "inactive" if not value:
                direction = name
            case "bundle-only" if not value:
                bundle_only = True
            case _:
                raise SdpRefused("a direction, mid or bundle-only in a spelling that not all read alike")
    rejected = port == 0 and not bundle_only
    # Directions are of audio and video: Chromium opens data channels of an `inactive` section (tried with 156).
    silent = direction == "inactive" and media[1] in ("audio", "video")
    live = not rejected and not silent
    return MediaSection(media[1], mid, direction, live, session_ufrag if ufrag is None else ufrag)


def _session_ufrag(session: str) -> str | None:
    if "ice-ufrag" not in session:
        return None
    found = _SESSION_UFRAG.findall(session)
    if not found:
        return None
    if len(found) > 1 or not UFRAG.fullmatch(found[0]):
        raise SdpRefused("a description has one well-formed ice-ufrag for all sections")
    return str(found[0])


def _check_mids(session: str, sections: tuple[MediaSection, ...]) -> None:
    mids: set[str] = set()
    for section in sections:
        if section.mid is not None:
            if section.mid in mids:
                raise SdpRefused("two sections share a mid")
            mids.add(section.mid)
        elif section.live:
            raise SdpRefused("a live section has no mid")
    bundles = _BUNDLE.findall(session)
    if len(bundles) > 1:
        raise SdpRefused("more than one BUNDLE group")
    if bundles:
        named = bundles[0].split(" ")[1:]
        if len(set(named)) != len(named) or not mids.issuperset(named):
            raise SdpRefused("the BUNDLE group names a section that is not there, or one twice")
