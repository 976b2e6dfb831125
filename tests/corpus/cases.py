"""The cases of the corpus: descriptions with the verdict that each must get, and why.

Reads `captured/`, what is written about it in `chromium.toml` and `aiortc.toml`, and `derived/*.toml`, whose cases are
edits of other cases. Knows nothing of the gate. `python -m tests.corpus.cases ID` prints a case.
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from tests.corpus.edits import edited

HERE: Final = Path(__file__).parent
IMPLEMENTATIONS: Final = ("chromium", "aiortc")

Permission = Literal["voice", "send", "receive", "both", "data", "everything"]
"""What the sender may do: `send` and `receive` video, `both`, open `data` channels, or nothing beyond the voice."""
PERMISSIONS: Final = ("voice", "send", "receive", "both", "data", "everything")
ACCEPTED: Final = "accepted"

_KEYS: Final = {
    *("why", "verdicts", "kind", "answers", "from", "edits", "text"),
    *("chromium_refuses", "idle_in_chromium", "live_in_chromium"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One description, and what must become of it."""

    id: str
    kind: Literal["offer", "answer"]
    sdp: str
    """The exact text: read and written as bytes, so that line ends are those of its maker."""
    offer: str | None
    """What an answer answers; None for an offer."""
    verdicts: Mapping[str, str]
    """By permission: `accepted`, or the code of the refusal."""
    why: str
    origin: str
    chromium_refuses: str | None
    """Why Chromium does not apply what the gate lets pass; None where it has to."""
    idle_in_chromium: str | None
    """Why nothing flows in Chromium although it applies what the gate takes for live; None where it has to flow."""
    live_in_chromium: bool
    """Whether Chromium makes live video of what the gate refuses as malformed: the refusal is not mere pedantry."""


@cache
def cases() -> Mapping[str, Case]:
    """All cases by id, the captured ones first. Raises: ValueError for what does not fit together."""
    found: dict[str, Case] = {}
    for implementation in IMPLEMENTATIONS:
        folder = HERE / "captured" / implementation
        release = (folder / "VERSION").read_text().strip()
        for name, entry in _entries(HERE / f"{implementation}.toml"):
            text = (folder / f"{name}.sdp").read_bytes().decode()
            origin = f"captured from {implementation} {release}: {name.replace('-', ' ')}"
            _add(found, implementation, name, entry, text, origin)
    for file in sorted((HERE / "derived").glob("*.toml")):
        for name, entry in _entries(file):
            if "text" in entry:
                _add(found, file.stem, name, entry, entry["text"], "made by hand")
                continue
            base = found[entry["from"]]
            edits = entry["edits"]
            text = edited(base.sdp, edits, {id_: case.sdp for id_, case in found.items()})
            inherited = {"answers": _id_of_offer(found, base), "kind": base.kind}
            _add(found, file.stem, name, inherited | entry, text, f"derived from {base.id} by {edits}")
    return MappingProxyType(found)


def _entries(file: Path) -> list[tuple[str, dict[str, Any]]]:
    entries = tomllib.loads(file.read_text(encoding="utf-8"))
    for name, entry in entries.items():
        if strange := entry.keys() - _KEYS:
            raise ValueError(f"{file.name}: {name} has {strange}")
    return list(entries.items())


def _add(
    found: dict[str, Case], group: str, name: str, entry: Mapping[str, Any], text: str, origin: str
) -> None:
    id_ = f"{group}/{name}"
    if id_ in found:
        raise ValueError(f"two cases are called {id_}")
    kind: Literal["offer", "answer"] = entry.get("kind") or ("offer" if name.endswith("-offer") else "answer")
    offer = None
    if kind == "answer":
        answered = entry.get("answers") or f"{name.removesuffix('-answer')}-offer"
        offer = found[answered if "/" in answered else f"{group}/{answered}"].sdp
    found[id_] = Case(
        id=id_,
        kind=kind,
        sdp=text,
        offer=offer,
        verdicts=entry["verdicts"],
        why=entry["why"],
        origin=origin,
        chromium_refuses=entry.get("chromium_refuses"),
        idle_in_chromium=entry.get("idle_in_chromium"),
        live_in_chromium=entry.get("live_in_chromium", False),
    )


def _id_of_offer(found: Mapping[str, Case], case: Case) -> str | None:
    return next((id_ for id_, other in found.items() if other.sdp is case.offer), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Prints the description of a case, or without one lists all."
    )
    parser.add_argument("id", nargs="?", choices=cases(), metavar="ID")
    wanted = parser.parse_args().id
    if wanted is None:
        for case in cases().values():
            print(case.id, dict(case.verdicts), case.why)
        return
    sys.stdout.buffer.write(cases()[wanted].sdp.encode())


if __name__ == "__main__":
    main()
