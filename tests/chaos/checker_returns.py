"""What a place in the queue is worth: it keeps its time, whoever did nothing goes back to it, and declining costs a pause."""

from collections.abc import Iterator
from typing import Final

from tests.chaos.checker_story import Mode, Story, Tale, Violation, lines, snapshot_of
from tests.chaos.history import Entry
from tests.chaos.readings import Readings
from tests.chaos.swarm_world import DECLINE_PAUSE_S

_RETURNING: Final = frozenset(("declined", "no_answer", "cancelled", "connect_timeout"))
_ENDED_BY_OTHERS: Final = frozenset(("hangup", "signaling_limit", "moderation"))
"""Before a call is live these send back whoever did not cause them."""
_ATTACHED_MS: Final = 1_500.0


def seniority(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """A ticket has one time at which it came, over calls that failed, new sessions, and whatever was put back."""
    since: dict[str, tuple[int, Entry]] = {}
    for entries in story.accepted.values():
        for entry in entries:
            ticket = _ticket_of(entry)
            if ticket is None:
                continue
            name, queued_at = ticket
            before_at, before = since.setdefault(name, (queued_at, entry))
            if before_at != queued_at:
                what = f"the place {name} counts from {queued_at - before_at} ms later than before"
                yield Violation("seniority", what, lines(before, entry))


def _ticket_of(entry: Entry) -> tuple[str, int] | None:
    if entry.kind != "heard":
        return None
    if entry.type == "session.ready":
        ticket = snapshot_of(entry).get("ticket") or {}
    else:
        ticket = entry.body if entry.type == "ok" else {}
    return (ticket["ticket_id"], ticket["queued_at"]) if "queued_at" in ticket else None


def requeued(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Where a call ends before it is live, whoever did not cause that goes back to the queue, and nobody else does."""
    for tales in story.calls().values():
        ended = [tale for tale in tales if tale.ended is not None]
        was_live = any(view.state in ("live", "deciding") for tale in tales for view in tale.views)
        for tale in ended:
            assert tale.ended is not None
            reason, goes_back = tale.ended.body["reason"], tale.ended.body["requeued"]
            may = reason in _RETURNING or (reason in _ENDED_BY_OTHERS and not was_live)
            if goes_back and not may:
                yield Violation("requeued", f"person {tale.who} went back after {reason}", lines(tale.ended))
            elif not goes_back and _deserves(tale, reason, story, mode):
                what = f"person {tale.who} did not go back after {reason}"
                yield Violation("requeued", what, lines(tale.began, tale.ended))
        flags = [tale.ended.body["requeued"] for tale in ended if tale.ended is not None]
        reasons = {tale.ended.body["reason"] for tale in ended if tale.ended is not None}
        if len(ended) == 2 and reasons == {"declined"} and sorted(flags) != [False, True]:
            yield Violation("requeued", f"one declined, and went back: {flags}", lines(*_ends(ended)))
        if len(ended) == 2 and reasons == {"cancelled"} and not any(flags):
            yield Violation("requeued", "it was cancelled, and nobody went back", lines(*_ends(ended)))


def _ends(tales: list[Tale]) -> list[Entry]:
    return [tale.ended for tale in tales if tale.ended is not None]


def _deserves(tale: Tale, reason: str, story: Story, mode: Mode) -> bool:
    """Whether time ran out on somebody who did what was theirs to do: said yes, or was there to the end."""
    assert tale.ended is not None
    if mode.was_away(tale.began.at_ms, tale.ended.at_ms):
        return False
    if reason == "no_answer":
        return any(ask.type == "call.accept" and ask.done for ask in tale.asks)
    return reason == "connect_timeout" and story.was_attached(
        tale.who, tale.ended.at_ms - _ATTACHED_MS, tale.ended.at_ms
    )


def pauses(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Who has declined does not queue again before their pause is over."""
    kept = {call.id: call for call in readings.calls}
    for tale in story.tales.values():
        call = kept.get(tale.call)
        if call is None or tale.ended is None or tale.ended.body["reason"] != "declined":
            continue
        if tale.ended.body["requeued"]:
            continue
        until = call.ended_at + DECLINE_PAUSE_S[0] * 1000
        for entry in story.accepted[tale.who]:
            ticket = _ticket_of(entry) if entry.number > tale.ended.number else None
            if ticket is None or ticket[1] >= until or mode.lost(tale.began.at_ms, entry.at_ms):
                continue
            if ticket[1] >= call.ended_at:
                what = f"person {tale.who} queued {until - ticket[1]:.0f} ms before the pause was over"
                yield Violation("pauses", what, lines(tale.ended, entry))
