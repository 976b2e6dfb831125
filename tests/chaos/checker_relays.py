"""What relays promise: within a negotiation each description and candidate comes once, in the order in which it was said;
and before both have taken the call nothing, nor any word of servers that might carry it.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.chaos.checker_story import Mode, Story, Tale, Violation, lines
from tests.chaos.history import Entry
from tests.chaos.readings import Readings

_RELAYED: Final = frozenset(("call.offer", "call.answer", "call.candidates"))

_Thread = tuple[str, int]
"""A negotiation: the seat that offered, and its number."""
_Word = tuple[str, str]
"""What is relayed in it: its type, and which candidate."""


def relays(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """Whatever is relayed was said by the other side; once, and not before what that side had said earlier in it."""
    for tales in story.calls().values():
        seats = {tale.seat: tale for tale in tales if tale.seat}
        for seat, tale in seats.items():
            peer = seats.get("b" if seat == "a" else "a")
            if peer is not None:
                yield from _between(peer, tale)


def early(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """Whoever has been shown no more than a proposal hears nothing of media: who declines learns nothing of the other."""
    for tale in story.tales.values():
        views = {view.entry.number: view for view in tale.views}
        state = ""
        for entry in tale.heard:
            if entry.number in views:
                state = views[entry.number].state
            elif state in ("", "proposed") and (entry.type in _RELAYED or entry.type == "call.ice_servers"):
                yield Violation(
                    "early", f"{entry.type} before both had taken the call", lines(tale.began, entry)
                )


def _between(speaker: Tale, listener: Tale) -> Iterator[Violation]:
    said: defaultdict[_Thread, defaultdict[_Word, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for ask in speaker.asks:
        if ask.type in _RELAYED:
            for word in _words(ask.sent):
                said[_thread(ask.sent, speaker.seat)][word].append(ask.sent)
    last: dict[_Thread, tuple[Entry, Entry]] = {}
    for heard in listener.heard:
        if heard.type not in _RELAYED:
            continue
        thread = _thread(heard, listener.seat)
        for word in _words(heard):
            entries = said[thread][word]
            if not entries or entries[0].number > heard.number:
                what = f"{heard.type} of negotiation {thread[1]} was relayed, but was not said, or not that often"
                yield Violation("relays", what, lines(heard))
                continue
            sent = entries.pop(0)
            before = last.get(thread)
            if before is not None and before[0].number > sent.number:
                what = f"{heard.type} of negotiation {thread[1]} came after what was said later"
                yield Violation("relays", what, lines(sent, *before, heard))
            last[thread] = (sent, heard)


def _thread(entry: Entry, seat: str) -> _Thread:
    """Of something that this seat said or heard: whose offer it is about."""
    of = entry.body.get("of", "self" if entry.kind == "sent" else "peer")
    other = "b" if seat == "a" else "a"
    return (seat if of == "self" else other), entry.body["negotiation"]


def _words(entry: Entry) -> list[_Word]:
    return [(entry.type, name) for name in entry.body.get("candidates", ("",))]
