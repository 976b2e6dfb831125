"""The edits that make a hostile description from an honest one.

Each edit is a table with one verb. `in` narrows it to the session part (`"session"`), or to the section with that
index; without it the edit means the whole text. An edit that finds nothing to change is a mistake in the corpus, since
its case would then be an honest description with a hostile one's name.

    replace, with     every occurrence of a text
    drop              the lines that begin so
    append            lines at the end of the part
    order             the sections in another order, some twice or not at all
    graft, section    a section of another case at the end
    line_end          what ends the lines instead of CRLF
    cut               so many characters from the end
    fill_bytes        a long attribute at the end, up to so many bytes
    fill_lines        short attributes at the end, up to so many lines
    candidates        so many candidates at the end
    codecs            so many codecs at the end, and feedback for any
"""

from collections.abc import Mapping, Sequence
from typing import Any

_END = "\r\n"


def edited(sdp: str, edits: Sequence[Mapping[str, Any]], others: Mapping[str, str]) -> str:
    """The description after all edits, in order. Raises: ValueError for one that changes nothing."""
    for edit in edits:
        before = sdp
        sdp = _narrowed(sdp, edit, others) if "in" in edit else _applied(sdp, edit, others)
        if sdp == before:
            raise ValueError(f"{dict(edit)} changes nothing")
    return sdp


def sections(sdp: str) -> list[str]:
    """The session part, then the sections with their `m=` lines."""
    session, *media = sdp.split(f"{_END}m=")
    if not media:
        return [session]
    return [session + _END, *(f"m={part}{_END}" for part in media[:-1]), f"m={media[-1]}"]


def _narrowed(sdp: str, edit: Mapping[str, Any], others: Mapping[str, str]) -> str:
    parts = sections(sdp)
    at = 0 if edit["in"] == "session" else 1 + int(edit["in"])
    parts[at] = _applied(parts[at], edit, others)
    return "".join(parts)


def _applied(text: str, edit: Mapping[str, Any], others: Mapping[str, str]) -> str:
    match edit:
        case {"replace": str(old), "with": str(new)}:
            return text.replace(old, new)
        case {"drop": str(beginning)}:
            lines = text.split(_END)
            return _END.join(line for line in lines if not line.startswith(beginning))
        case {"append": [*lines]}:
            return text + "".join(f"{line}{_END}" for line in lines)
        case {"order": [*indices]}:
            session, *media = sections(text)
            return session + "".join(media[index] for index in indices)
        case {"graft": str(other), "section": int(index)}:
            return text + sections(others[other])[1 + index]
        case {"line_end": str(end)}:
            return text.replace(_END, end)
        case {"cut": int(count)}:
            return text[:-count]
        case {"fill_bytes": int(size)}:
            return f"{text}a=x:{'x' * (size - len(text) - len(f'a=x:{_END}'))}{_END}"
        case {"fill_lines": int(count)}:
            return text + f"a=x{_END}" * (count - text.count("\n"))
        case {"candidates": int(count)}:
            return text + "".join(_candidate(number) for number in range(count))
        case {"codecs": int(count)}:
            return text + "".join(_codec(number) for number in range(count))
        case _:
            raise ValueError(f"{dict(edit)} is no edit")


def _candidate(number: int) -> str:
    return f"a=candidate:{number} 1 udp {2122260223 - number} 192.0.2.{number + 1} {50000 + number} typ host{_END}"


def _codec(number: int) -> str:
    return f"a=rtpmap:{96 + number % 14} x/8000{_END}a=rtcp-fb:* x{number}{_END}"
