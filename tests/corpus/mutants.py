"""Mutants of captured descriptions, to look for what nobody thought of.

Changes what decides about video more often than the rest: directions, mids, ports, groups and where sections begin. A
seed gives the same mutants again and again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from tests.corpus.cases import IMPLEMENTATIONS, Case, cases
from tests.corpus.edits import sections

_END: Final = "\r\n"
# Longer ones are the same with more codecs.
_LONGEST: Final = 7200
_DECISIVE: Final = (
    "m=",
    "a=mid",
    "a=group",
    "a=sendrecv",
    "a=sendonly",
    "a=recvonly",
    "a=inactive",
    "a=bundle",
)
_LINES: Final = (
    *(
        "a=inactive",
        "a=sendrecv",
        "a=sendonly",
        "a=recvonly",
        "a=bundle-only",
        "a=mid:0",
        "a=mid:1",
        "a=mid:2",
    ),
    *("a=group:BUNDLE 0 1", "a=group:BUNDLE 0", "a=group:BUNDLE", "a=group:LS 0 1"),
    *("m=video 9 UDP/TLS/RTP/SAVPF 96", "m=video 0 UDP/TLS/RTP/SAVPF 96", "m=audio 9 UDP/TLS/RTP/SAVPF 111"),
    *("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000"),
    *("a=rtpmap:96 VP8/90000", "a=rtpmap:111 VP8/90000", "a=ssrc:123 cname:x", "a=msid:s t"),
    *("a=simulcast:send q;h", "a=rid:q send", "a=ssrc-group:SIM 1 2", "a=x-google-flag:conference"),
    *(
        "a=setup:active",
        "a=setup:passive",
        "a=ice-lite",
        "a=rtcp-mux",
        "a=extmap-allow-mixed",
        "a=content:main",
    ),
    *("v=0", "s=-", "t=0 0", "c=IN IP4 0.0.0.0", "b=AS:0", "i=x", "k=x", "z=0", "a=x"),
)
_BLANKS: Final = ("{} ", "{}:", "{}:x", "{} x", " {}", "{}\t")
_CHARACTERS: Final = " :/=-0129aAmxXv\t\0\n\r*.;"
_PLACES: Final = (
    *(("inactive", "sendrecv"), ("inactive", "Inactive"), ("inactive", "sendonly"), ("inactive", "recvonly")),
    *(
        ("m=video 9", "m=video 0"),
        ("m=video 9", "m=video 1"),
        ("m=video", "m=audio"),
        ("m=video", "m=application"),
    ),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A description that somebody could send."""

    base: str
    """The id of the case that it was made from."""
    kind: Literal["offer", "answer"]
    sdp: str
    offer: str | None


def mutants(seed: int) -> Iterator[Mutant]:
    """Mutants without end, the same ones for the same seed."""
    random = Random(seed)
    captured = [
        case
        for case in cases().values()
        if case.id.startswith(IMPLEMENTATIONS) and len(case.sdp) < _LONGEST and "m=" in case.sdp
    ]
    while True:
        case = random.choice(captured)
        text = _mutated(case, random)
        if text != case.sdp:
            yield Mutant(case.id, case.kind, text, case.offer)


def _mutated(case: Case, random: Random) -> str:
    text = case.sdp
    for _ in range(random.choice((1, 1, 2, 2, 3, 4))):
        text = random.choice(_MUTATIONS)(text, random)
    return text


def _at_a_line(change: Callable[[list[str], int, Random], None]) -> Callable[[str, Random], str]:
    """A mutation of one line, mostly one of those that decide."""

    def mutation(text: str, random: Random) -> str:
        lines = text.split(_END)
        decisive = [number for number, line in enumerate(lines) if line.startswith(_DECISIVE)]
        at = random.choice(decisive) if decisive and random.random() < 0.6 else random.randrange(len(lines))
        change(lines, at, random)
        return _END.join(lines)

    return mutation


def _drop(lines: list[str], at: int, random: Random) -> None:
    del lines[at]
    lines[:] = lines or [""]


def _insert(lines: list[str], at: int, random: Random) -> None:
    lines.insert(at + random.randrange(2), random.choice(_LINES))


def _repeat(lines: list[str], at: int, random: Random) -> None:
    lines.insert(random.randrange(len(lines)), lines[at])


def _move(lines: list[str], at: int, random: Random) -> None:
    lines.insert(random.randrange(len(lines)), lines.pop(at))


def _blank(lines: list[str], at: int, random: Random) -> None:
    lines[at] = random.choice(_BLANKS).format(lines[at])


def _character(lines: list[str], at: int, random: Random) -> None:
    line = lines[at]
    place = random.randrange(len(line) + 1)
    lines[at] = line[:place] + random.choice(_CHARACTERS) + line[place + random.randrange(2) :]


def _odd_attribute(lines: list[str], at: int, random: Random) -> None:
    lines.insert(at + 1, random.choice(_BLANKS).format(random.choice(_LINES[:5])))


def _revive(lines: list[str], at: int, random: Random) -> None:
    """Rejects the video, and says further on that it is live all the same."""
    for number, line in enumerate(lines):
        if line.startswith("m=video"):
            lines[number] = line.replace(" 9 ", random.choice((" 0 ", " 00 ")))
            lines.insert(number + 2, random.choice(("a=bundle-only", "a=bundle-only:x", "a=x", "a=inactive")))
            return


def _case(lines: list[str], at: int, random: Random) -> None:
    lines[at] = lines[at].upper() if random.random() < 0.5 else lines[at].title()


def _exchange(lines: list[str], at: int, random: Random) -> None:
    lines[at] = lines[at].replace(*random.choice(_PLACES))


def _space(lines: list[str], at: int, random: Random) -> None:
    lines[at] = lines[at].replace(" ", random.choice(("  ", "", "/")), 1)


def _number(lines: list[str], at: int, random: Random) -> None:
    lines[at] = lines[at].replace("0", random.choice(("1", "2", "00")), 1)


def _shuffle(text: str, random: Random) -> str:
    head, *media = sections(text)
    random.shuffle(media)
    return "".join((head, *media))


def _add_a_section(text: str, random: Random) -> str:
    head, *media = sections(text)
    copy = random.choice(media) if media else ""
    return "".join((head, *media, copy.replace("a=mid:0", "a=mid:7").replace("a=mid:1", "a=mid:8")))


_MUTATIONS: Final = (
    *(_at_a_line(change) for change in (_drop, _insert, _repeat, _move, _blank, _character)),
    *(_at_a_line(change) for change in (_case, _exchange, _space, _number, _odd_attribute, _revive)),
    _shuffle,
    _add_a_section,
)
