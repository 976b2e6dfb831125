"""Shows what some people sent and heard in a dumped history, a line each and only what matters of it.

    python -m tests.chaos.history_look history.jsonl --people 12,31 --between 14 16.5
    python -m tests.chaos.history_look history.jsonl --call 01a1feeb-3af0-700d-8f9d-7e215be1c9a3

With `--call` the people are those who heard of the call, and all that they did meanwhile is shown.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.chaos.history import NOBODY, Entry, History, load

_SHOWN: Final = (
    "code",
    "what",
    "state",
    "version",
    "peer_attached",
    "negotiation",
    "of",
    "video",
    "direction",
    "reason",
    "requeued",
    "intent",
    "ticket_id",
    "number",
    "last_id",
    "last_seq",
)
_AROUND_MS: Final = 1_000.0


def of_people(history: History, whos: frozenset[int], from_ms: float, to_ms: float) -> Iterator[Entry]:
    """What these people, and the faults, did in a time."""
    return (
        entry
        for entry in history
        if (entry.who in whos or entry.who == NOBODY) and from_ms <= entry.at_ms <= to_ms
    )


def of_call(history: History, call: str) -> Iterator[Entry]:
    """What its people did from a second before its first message to a second after its last one."""
    about = [entry for entry in history if entry.call == call]
    if not about:
        return iter(())
    whos = frozenset(entry.who for entry in about)
    return of_people(history, whos, about[0].at_ms - _AROUND_MS, about[-1].at_ms + _AROUND_MS)


def brief(entry: Entry) -> str:
    """An entry in few words; ids by their ends."""
    body = entry.body if entry.type else entry.data
    words = [f"{name}={body[name]}" for name in _SHOWN if body.get(name) is not None]
    allowed = body.get("video_allowed")
    if allowed is not None:
        words.append(f"allowed={''.join(seat for seat in 'ab' if allowed.get(seat)) or 'none'}")
    numbers = [
        f"{name}={entry.data[name]}" for name in ("seq", "id", "ack") if entry.data.get(name) is not None
    ]
    place = f"{entry.session[-6:] or '-'}#{entry.socket}"
    what = entry.type or entry.kind
    about = f"call {entry.call[-6:]} " if entry.call else ""
    sign = {"sent": "->", "heard": "<-"}.get(entry.kind, "--")
    who = "*" if entry.who == NOBODY else str(entry.who)
    text = f"{entry.number:>7} {entry.at_ms / 1000:9.3f}s {who:>4} {place:<10} {sign} {what} {about}"
    if not entry.type:
        words = words or [str(dict(entry.data))]
    return text + " ".join([*words, *numbers])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("history", type=Path)
    parser.add_argument("--people", default="", help="numbers, with commas between them")
    parser.add_argument("--between", nargs=2, type=float, default=(0.0, float("inf")), metavar=("FROM", "TO"))
    parser.add_argument("--call", default="", help="the whole id of a call")
    arguments = parser.parse_args()
    history = load(arguments.history)
    if arguments.call:
        chosen = of_call(history, arguments.call)
    else:
        whos = frozenset(int(who) for who in arguments.people.split(",") if who)
        chosen = of_people(history, whos, arguments.between[0] * 1000, arguments.between[1] * 1000)
    for entry in chosen:
        print(brief(entry))


if __name__ == "__main__":
    main()
