"""What the queue promises: an acknowledged place is matched once, left, or given up with a word; it is never just gone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.checker_story import Mode, Story, Violation, lines, snapshot_of
from tests.chaos.history import Entry
from tests.chaos.readings import Readings

_RETURN_MS: Final = 1_500.0
"""`call.ended` is told before the ticket is back: who joins in between may get another one."""
_PLACE_KEPT_MS: Final = 13_000.0
"""For so long a detached device's place is kept for certain."""


@dataclass(slots=True)
class _Place:
    """What a person may believe of the queue."""

    ticket: str = ""
    """The place that was acknowledged; empty where there is none."""
    intent: str = ""
    since: Entry | None = None
    made_ms: float | None = None
    """When the place was taken, where that is known."""
    matched: str = ""
    """The ticket that led to the call of now; empty where its join was not answered yet."""
    maybe: int = 0
    """Joins whose answer is not known: each may have led to a place."""
    leaving: bool = False
    """A `queue.leave`, or the end of the session, was said and not refused."""
    shut_at_ms: float | None = None


def places(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """An acknowledged join ends matched, left or expired, or is there still; a ticket is matched once."""
    for who in story.accepted:
        yield from _follow(who, story, readings, mode)


def _follow(who: int, story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    place = _Place()
    joins: dict[tuple[str, int], tuple[Entry, bool]] = {}
    call = ""
    for entry in story.accepted[who]:
        key = (entry.session, entry.data.get("id", 0))
        if entry.kind == "sent":
            if entry.type == "queue.join":
                joins[key] = (entry, False)
                place.maybe += 1
            elif entry.type in ("queue.leave", "session.end"):
                place.leaving = True
        elif entry.kind == "shut":
            place.shut_at_ms = place.shut_at_ms or entry.at_ms
            if entry.data["by"] == "us" or entry.data["code"] == 1000:
                place = _Place()
        elif entry.type in ("ok", "error"):
            ask = story.asked.get((who, *key))
            if ask is None:
                continue
            if ask.type == "queue.join" and key in joins:
                sent, was_matched = joins.pop(key)
                place.maybe = max(0, place.maybe - 1)
                if entry.type == "ok" and was_matched and place.matched in ("", entry.body["ticket_id"]):
                    # The match came before the answer of the join that led to it.
                    place.matched = entry.body["ticket_id"]
                    place.ticket = place.matched if place.ticket == "?" else place.ticket
                elif entry.type == "ok" and was_matched:
                    # Done after that call had ended: what it gives takes the place of what came back from it.
                    place.ticket, place.intent, place.since = (
                        entry.body["ticket_id"],
                        sent.body["intent"],
                        entry,
                    )
                elif entry.type == "ok":
                    yield from _joined(place, entry, sent, story, readings, mode)
            elif ask.type == "queue.leave":
                place.leaving = False
                if entry.type == "ok":
                    place.ticket = ""
            elif ask.type == "session.end":
                place = _Place()
        elif entry.type == "match.found" and entry.call != call:
            call = entry.call
            if not place.ticket and not place.maybe and not mode.lost(0, entry.at_ms):
                yield Violation(
                    "matched once", f"person {who} was matched without a place", lines(place.since, entry)
                )
            joins = {join: (sent, True) for join, (sent, _) in joins.items()}
            # A join whose answer was lost may have been the place.
            place.maybe = place.maybe if place.ticket else max(0, place.maybe - 1)
            place.matched, place.ticket, place.since = place.ticket, "", entry
        elif entry.type == "call.ended":
            if entry.body["requeued"] and not place.ticket:
                place.ticket, place.since = place.matched or "?", entry
        elif entry.type == "queue.left":
            place.ticket = ""
        elif entry.type == "session.resumed":
            place.shut_at_ms = None
        elif entry.type == "session.ready":
            yield from _began_anew(place, entry, who, story, readings, mode)
            snapshot = snapshot_of(entry)
            if snapshot.get("call"):
                call = snapshot["call"]["call_id"]
    if place.ticket and not place.leaving:
        yield Violation("places", f"person {who} waits for ever", lines(place.since))


def _joined(
    place: _Place, entry: Entry, sent: Entry, story: Story, readings: Readings, mode: Mode
) -> Iterator[Violation]:
    ticket, intent = entry.body["ticket_id"], sent.body["intent"]
    known = place.ticket not in ("", "?")
    if known and ticket != place.ticket and intent == place.intent:
        since = place.since.at_ms if place.since is not None else 0.0
        is_on_its_way = (
            place.since is not None and place.since.type == "call.ended" and sent.at_ms - since < _RETURN_MS
        )
        made_ms = since if place.made_ms is None else min(since, place.made_ms)
        was_kept = story.longest_absence(sent.who, made_ms, entry.at_ms) < _PLACE_KEPT_MS
        excused = mode.lost(since, entry.at_ms) or place.leaving or is_on_its_way
        # Too slow to show somebody a match before it was given up: that is said elsewhere, where nobody was away.
        excused = excused or (
            mode.was_away(since, entry.at_ms) and _met(sent.who, since, entry, story, readings)
        )
        if was_kept and not excused:
            what = f"the place {place.ticket} went without a word"
            yield Violation("places", what, lines(place.since, sent, entry))
    if place.ticket != ticket:
        place.since = entry
        place.made_ms = story.local_ms(entry.body["queued_at"])
    place.ticket, place.intent, place.leaving = ticket, intent, False


def _began_anew(
    place: _Place, entry: Entry, who: int, story: Story, readings: Readings, mode: Mode
) -> Iterator[Violation]:
    """A new session's snapshot says what the device has; what it had before must not be missing without a cause."""
    ticket = snapshot_of(entry).get("ticket")
    before = place.ticket
    had, since, left = bool(before), place.since, place.leaving
    gone_ms = 0.0 if place.shut_at_ms is None else entry.at_ms - place.shut_at_ms
    place.leaving, place.shut_at_ms = False, None
    if ticket is not None:
        place.ticket, place.intent = ticket["ticket_id"], ticket["intent"]
        place.since = place.since if before == place.ticket else entry
        return
    place.ticket = ""
    if not had or left or snapshot_of(entry).get("call") or since is None:
        return
    # It may be claimed already, and the call not be there yet.
    place.maybe += 1
    if gone_ms >= _PLACE_KEPT_MS or mode.was_away(since.at_ms, entry.at_ms):
        return
    if not _met(who, since.at_ms, entry, story, readings):
        yield Violation("places", f"the place {before} is not there after a new session", lines(since, entry))


def _met(who: int, since_ms: float, entry: Entry, story: Story, readings: Readings) -> bool:
    """Whether by history somebody was matched about then, told of it or not."""
    user = readings.users[who]
    return any(
        user in call.users.values()
        and since_ms - 1000 <= story.local_ms(call.created_at) <= entry.at_ms + 1000
        for call in readings.calls
    )
