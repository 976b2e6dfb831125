"""The SDP gate: whether a session description may reach the peer.

Decides by what is allowed at this moment: voice always, video per sender, data channels by policy. Judges each
description afresh, since browsers recycle rejected sections. Accepts or refuses, and never rewrites: rewriting
would break the alignment of `m=` lines between the peers. Sources: RFC 8866 (SDP), RFC 8829 (JSEP), RFC 9143
(BUNDLE).

The tokenizer is strict on purpose. A lenient one reads lines where a browser reads none (U+2028, a bare CR), and
so a section or direction could hide from it.
"""

import re
from dataclasses import dataclass
from typing import Final

from base.errors import ErrorCode, MinuetError

MAX_BYTES: Final = 16 * 1024
MAX_LINES: Final = 500
MAX_SECTIONS: Final = 8

_FOREIGN: Final = re.compile(r"[^\x20-\x7e\n]")
_MEDIA: Final = re.compile(r"m=([a-z]+) (\d{1,5})(?:/\d{1,5})? ([A-Za-z0-9/]+)((?: [A-Za-z0-9-]+)+)$")
_MID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,32}$")
_DIRECTIONS: Final = frozenset(("sendrecv", "sendonly", "recvonly", "inactive"))


class SdpRefused(MinuetError):
    """The description may not pass; `code` says which rule it broke."""

    code = ErrorCode.SDP_INVALID


@dataclass(frozen=True, slots=True)
class MediaSection:
    """What matters of one `m=` section."""

    kind: str
    mid: str | None
    direction: str
    live: bool
    """Whether media or data could flow: neither rejected nor `inactive`."""


@dataclass(frozen=True, slots=True)
class Description:
    """The sections of a session description, in order."""

    sections: tuple[MediaSection, ...]

    @property
    def has_live_video(self) -> bool:
        return any(section.live and section.kind == "video" for section in self.sections)


@dataclass(frozen=True, slots=True)
class Allowance:
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
    text = sdp.replace("\r\n", "\n")
    if _FOREIGN.search(text):
        raise SdpRefused("only printable ASCII in lines ended by CRLF or LF")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines or lines[0] != "v=0":
        raise SdpRefused("a description begins with v=0")
    if len(lines) > MAX_LINES:
        raise SdpRefused(f"a description has at most {MAX_LINES} lines")
    starts: list[int] = []
    for number, line in enumerate(lines):
        if line[1:2] != "=" or not "a" <= line[:1] <= "z":
            raise SdpRefused(f"line {number + 1} is not of the form x=...")
        if line[0] == "m":
            starts.append(number)
    if not starts or len(starts) > MAX_SECTIONS:
        raise SdpRefused(f"a description has 1 to {MAX_SECTIONS} media sections")
    sections = tuple(
        _section(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    )
    _check_mids(lines[: starts[0]], sections)
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


def _section(lines: list[str]) -> MediaSection:
    media = _MEDIA.match(lines[0])
    if media is None:
        raise SdpRefused("malformed m= line")
    kind, port = media[1], int(media[2])
    mid: str | None = None
    # Without a direction line a section sends and receives, whatever the session level says.
    direction = "sendrecv"
    bundle_only = False
    for line in lines:
        if not line.startswith("a="):
            continue
        attribute = line[2:].rstrip(" ")
        if attribute in _DIRECTIONS:
            direction = attribute
        elif attribute == "bundle-only":
            bundle_only = True
        elif attribute.startswith("mid:"):
            if mid is not None or not _MID.match(attribute[4:]):
                raise SdpRefused("a section has one well-formed mid")
            mid = attribute[4:]
    rejected = port == 0 and not bundle_only
    return MediaSection(kind, mid, direction, live=not rejected and direction != "inactive")


def _check_mids(session_lines: list[str], sections: tuple[MediaSection, ...]) -> None:
    mids = [section.mid for section in sections if section.mid is not None]
    if len(set(mids)) != len(mids):
        raise SdpRefused("two sections share a mid")
    bundles = [line for line in session_lines if line.startswith("a=group:BUNDLE")]
    if len(bundles) > 1:
        raise SdpRefused("more than one BUNDLE group")
    if bundles:
        named = bundles[0].split(" ")[1:]
        if len(set(named)) != len(named) or not set(named) <= set(mids):
            raise SdpRefused("the BUNDLE group names a section that is not there, or one twice")
    if any(section.live and section.mid is None for section in sections):
        raise SdpRefused("a live section has no mid")
