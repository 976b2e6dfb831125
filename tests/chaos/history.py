"""What every client sent and heard, in the one order in which it happened here.

Append-only: the checker reads it afterwards, and people read it when the checker has found something. Descriptions and
candidates are kept as what matters of them, tokens not at all. One process writes it, on one event loop, so the order of
its entries is an order in which things really happened.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Message = Mapping[str, Any]

NOBODY: Final = -1
"""Whose entry it is where it is nobody's: faults."""

SLOW: Final = "we were slow"
"""A note of nobody's: for `ms` this process did not come to hear anything."""

_SECRETS: Final = ("token", "ice_servers", "limits")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    `kind`: `opened` and `shut` (a socket), `sent` and `heard` (a message; a message that is sent may never arrive),
    `note` (what a person thought), `fault` (what was done to the servers or to the network).
    """

    number: int
    at_ms: float
    """Of a clock that never goes back; its zero is the history's beginning."""
    who: int
    kind: str
    session: str
    """The session of the socket, once it is known; empty before."""
    socket: int
    """Counts the person's sockets."""
    data: Message

    @property
    def type(self) -> str:
        """The type of a message that was sent or heard; else empty."""
        return str(self.data.get("type", "")) if self.kind in ("sent", "heard") else ""

    @property
    def body(self) -> Message:
        """The `data` of a message."""
        body: Message = self.data.get("data") or {}
        return body

    @property
    def call(self) -> str:
        """The call that a message is about; else empty."""
        return str(self.body.get("call_id", ""))

    def as_text(self) -> str:
        """One line for people."""
        who = "everybody" if self.who == NOBODY else f"person {self.who}"
        session = self.session[-6:] or "-"
        return (
            f"{self.number:>7} {self.at_ms / 1000:9.3f}s {who:<11} {session} #{self.socket} {self.kind:<6}"
            f" {json.dumps(self.data, default=str)}"
        )


class History:
    """Collects entries; `limit` of them at most, and says so if there were more."""

    def __init__(self, limit: int = 2_000_000) -> None:
        self._limit = limit
        self._zero = time.monotonic()
        self.entries: list[Entry] = []
        self.overflowed = False

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def now_ms(self) -> float:
        return (time.monotonic() - self._zero) * 1000

    def add(self, who: int, kind: str, data: Message, *, session: str = "", socket: int = 0) -> None:
        """Appends one entry, with the time of now."""
        if len(self.entries) >= self._limit:
            self.overflowed = True
            return
        at_ms = round(self.now_ms(), 2)
        self.entries.append(Entry(len(self.entries), at_ms, who, kind, session, socket, data))

    def fault(self, what: str, target: str = "", **more: Any) -> None:
        """Notes what was done to the servers or to the network."""
        self.add(NOBODY, "fault", {"what": what, "target": target, **more})

    def dump(self, path: Path) -> None:
        """Writes all of it as JSON lines."""
        with path.open("w") as out:
            for entry in self.entries:
                out.write(json.dumps(_as_json(entry), default=str))
                out.write("\n")


def load(path: Path) -> History:
    """A history that was dumped before, for another look at it."""
    history = History()
    with path.open() as lines:
        history.entries = [Entry(**json.loads(line)) for line in lines]
    return history


def tidy(message: Message) -> Message:
    """A message as the history keeps it: without secrets, addresses, and of descriptions but what they do with video."""
    data = message.get("data")
    if not data:
        return message
    kept = {name: value for name, value in data.items() if name not in _SECRETS}
    if "sdp" in kept:
        kept["video"] = video_of(kept.pop("sdp"))
    if "candidates" in kept:
        kept["candidates"] = [_name_of(candidate) for candidate in kept["candidates"]]
    return {**message, "data": kept}


def video_of(sdp: str) -> str | None:
    """The direction of the first video section; None where there is no such section, or it is off."""
    _, found, section = sdp.partition("\r\nm=video ")
    if not found or section.startswith("0 "):
        return None
    section = section.partition("\r\nm=")[0]
    for direction in ("sendrecv", "sendonly", "recvonly", "inactive"):
        if f"\r\na={direction}\r\n" in section:
            return None if direction == "inactive" else direction
    return "sendrecv"


def _name_of(candidate: Message) -> str:
    """The foundation of a candidate, of which our people have another for each; nothing of its address."""
    return str(candidate.get("candidate", "")).partition(" ")[0].removeprefix("candidate:")


def _as_json(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}
