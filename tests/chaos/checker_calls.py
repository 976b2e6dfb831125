"""What a call promises to its two people: one at a time, states by the table, the same story for both, an end in time.

The table is the project's own (`signaling/call/table.py`, from which docs/states.md is made).
"""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import Final

from signaling.call.states import State
from signaling.call.table import TABLE
from tests.chaos.checker_story import Mode, Story, Tale, View, Violation, lines
from tests.chaos.readings import KeptCall, Readings

_TOLD_MS: Final = 5_000.0
_CLOCKS_MS: Final = 100
_RELAYS: Final = frozenset(
    (
        "call.offer",
        "call.answer",
        "call.candidates",
        "call.negotiation_failed",
        "call.reset",
        "call.ice_servers",
    )
)
_ASKING: Final = frozenset(
    (
        "call.extend.requested",
        "video.requested",
        "video.allowed",
        "video.denied",
        "video.revoked",
        "match.found",
    )
)
_GUESTS_END: Final = frozenset(("hangup", "completed", "network_lost"))

_NEXT: Final[dict[str, frozenset[str]]] = {
    state.value: frozenset(
        after.value for row in TABLE if state in row.states for after in row.next_states(state)
    )
    for state in State
}


def _reachable() -> dict[str, frozenset[str]]:
    reached = {state: set(after) | {state} for state, after in _NEXT.items()}
    for _ in _NEXT:
        for after in reached.values():
            after |= {further for state in tuple(after) for further in reached[state]}
    return {state: frozenset(after) for state, after in reached.items()}


_REACHABLE: Final = _reachable()


def one_at_a_time(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Nobody is in two calls at once: not by what they are told, and not by history."""
    for tale in story.tales.values():
        if not tale.heard or tale.began.type != "match.found":
            continue
        for other in story.tales_of(tale.who):
            if other.call == tale.call or not other.heard or other.began.number > tale.began.number:
                continue
            if other.over is None or other.over.number > tale.began.number:
                what = f"person {tale.who} was matched in the middle of a call"
                yield Violation("one call", what, lines(other.began, tale.began, other.over))
    for user in readings.users:
        mine = sorted(
            (call for call in readings.calls if user in call.users.values()), key=lambda call: call.created_at
        )
        for first, second in pairwise(mine):
            until = _over_at(first, user)
            if second.created_at + _CLOCKS_MS < until and not mode.was_away(
                story.local_ms(first.created_at), story.local_ms(until)
            ):
                what = f"by history {user} was in {first.id} until {until} and in {second.id} from {second.created_at}"
                yield Violation("one call", what)


def shown(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """Whoever hears of a call was shown it first or soon: by `match.found`, once in a session, or by a snapshot."""
    for tale in story.tales.values():
        found = {entry.session: entry for entry in reversed(tale.heard) if entry.type == "match.found"}
        for entry in tale.heard:
            if entry.type == "match.found" and entry is not found[entry.session]:
                yield Violation("shown", "a match was told twice", lines(found[entry.session], entry))
        if tale.heard and not any(entry.type in ("match.found", "session.ready") for entry in tale.heard):
            yield Violation("shown", f"person {tale.who} was never shown {tale.call}", lines(tale.began))


def states(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A call moves as the table allows; its versions rise."""
    for tale in story.tales.values():
        for before, after in pairwise(tale.views):
            if mode.lost(before.entry.at_ms, after.entry.at_ms) or mode.told_alone(before.entry, after.entry):
                continue
            yield from _step(before, after)


def _step(before: View, after: View) -> Iterator[Violation]:
    both = lines(before.entry, after.entry)
    if after.version < before.version:
        yield Violation("versions", f"{after.version} after {before.version}", both)
    elif after.version == before.version:
        if (after.state, after.data["video_allowed"]) != (before.state, before.data["video_allowed"]):
            yield Violation("versions", f"two views of version {after.version}", both)
    elif after.state not in _REACHABLE[before.state]:
        yield Violation("states", f"{after.state} cannot follow {before.state}", both)
    elif after.version == before.version + 1 and after.state not in _NEXT[before.state] | {
        before.state,
        "ended",
    }:
        # `ended`: to a guest it is what the other calls `deciding`.
        yield Violation("states", f"{after.state} is no single step from {before.state}", both)


def silence(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Nothing is relayed once the call is over, or only waits for a decision."""
    for tale in story.tales.values():
        over = None
        for entry in tale.heard:
            if any(told is not None and mode.told_alone(told, entry) for told in (tale.ended, over)):
                continue
            if tale.ended is not None and entry.number > tale.ended.number:
                if (
                    entry.type in _RELAYS
                    or entry.type in _ASKING
                    or entry.type in ("connect.prompt", "call.state")
                ):
                    yield Violation("silence", f"{entry.type} after the end", lines(tale.ended, entry))
                elif entry.type == "call.ended" and entry.body != tale.ended.body:
                    yield Violation("silence", "ended twice, each time otherwise", lines(tale.ended, entry))
                elif entry.type == "call.ended" and entry.session == tale.ended.session:
                    yield Violation(
                        "silence", "the end was told twice in one session", lines(tale.ended, entry)
                    )
            elif over is not None and (
                entry.type in _RELAYS or entry.type in ("video.allowed", "video.requested")
            ):
                yield Violation("silence", f"{entry.type} after media was over", lines(over, entry))
            if entry.type == "call.state" and entry.body["state"] in ("deciding", "ended"):
                over = entry


def two_sides(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Both are told of each other, of two seats, and of the same end; history has it the same way, once."""
    kept = {call.id: call for call in readings.calls}
    if len(kept) != len(readings.calls):
        yield Violation("history", "a call is in history twice")
    for call_id, tales in story.calls().items():
        told = [tale for tale in tales if tale.heard]
        seats = [tale.seat for tale in told]
        if len(set(seats)) != len(seats):
            yield Violation("two sides", f"seats {seats} in {call_id}", lines(*(tale.began for tale in told)))
            continue
        for tale in told:
            yield from _peer(tale, [other for other in told if other is not tale], readings)
        if not told:
            continue
        call = kept.get(call_id)
        if call is None:
            from_ms, to_ms = (
                min(tale.began.at_ms for tale in told),
                max(tale.heard[-1].at_ms for tale in told),
            )
            if not mode.lost(from_ms - 2000, to_ms + 5000):
                last = lines(*(tale.heard[-1] for tale in told))
                yield Violation("history", f"{call_id} is not in history", last)
            continue
        for tale in told:
            yield from _same_story(tale, call, readings, story, mode)


def _peer(tale: Tale, others: list[Tale], readings: Readings) -> Iterator[Violation]:
    shown = (tale.found or {}).get("peer", {}).get("first_name")
    for other in others:
        if shown is not None and shown != readings.names[other.who]:
            yield Violation(
                "two sides", f"{shown} was shown, not the other person", lines(tale.began, other.began)
            )


def _same_story(
    tale: Tale, call: KeptCall, readings: Readings, story: Story, mode: Mode
) -> Iterator[Violation]:
    if tale.found is not None and call.users.get(tale.seat) != readings.users[tale.who]:
        what = f"history has {call.users.get(tale.seat)} on seat {tale.seat} of {call.id}"
        yield Violation("history", what, lines(tale.began))
        return
    if tale.found is not None and call.roles.get(tale.seat) != tale.role:
        what = f"history has the role {call.roles.get(tale.seat)} on seat {tale.seat}"
        yield Violation("history", what, lines(tale.began))
    if tale.ended is None or mode.lost(tale.began.at_ms, tale.ended.at_ms + 5000):
        return
    if mode.was_away(tale.ended.at_ms - _TOLD_MS, tale.ended.at_ms + _TOLD_MS):
        # A restriction binds where it is said, before it is stored: while one node cannot store it, another may end the
        # call by what is stored, or by the clock. History has one of these moments.
        return
    reason = tale.ended.body["reason"]
    as_guest = tale.role == "guest" and call.live_at is not None and reason in _GUESTS_END
    if reason != call.reason and not as_guest:
        yield Violation("history", f"{reason} was told, {call.reason} is in history", lines(tale.ended))
    if abs(tale.ended.body["duration_ms"] - call.duration_ms) > 1:
        what = f"{tale.ended.body['duration_ms']} ms were told, {call.duration_ms} are in history"
        yield Violation("history", what, lines(tale.ended))


def deadlines(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Whoever is there hears of the end of each state soon after its deadline."""
    for tale in story.tales.values():
        for view, after in zip_longest(tale.views, tale.views[1:]):
            due = min(
                (view.data[name] for name in ("deadline_at", "ends_at") if view.data[name]), default=None
            )
            if due is None or view.state == "ended":
                continue
            if view.state == "deciding":
                due = view.data["deadline_at"]
            due_ms = story.local_ms(due)
            late_ms = due_ms + mode.late_ms
            heard = after.entry if after is not None else tale.over
            if heard is not None and heard.at_ms <= late_ms:
                continue
            if mode.was_away(due_ms - 1000, late_ms) or not story.was_attached(tale.who, due_ms, late_ms):
                continue
            late = "never" if heard is None else f"{heard.at_ms - due_ms:.0f} ms late"
            yield Violation(
                "deadlines", f"{view.state} of {tale.call} was over {late}", lines(view.entry, heard)
            )


def clock(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A call that runs to its end is over when its clock says so: by history neither before, nor a second after."""
    kept = {call.id: call for call in readings.calls}
    for tale in story.tales.values():
        call = kept.get(tale.call)
        # To a guest `completed` is told where the clock ran out and nothing had been decided before.
        if call is None or tale.role != "guest" or tale.ended is None or call.live_at is None:
            continue
        told = [view.data["ends_at"] for view in tale.views if view.data["ends_at"]]
        early = any(view.data.get("connected") for view in tale.views)
        if tale.ended.body["reason"] != "completed" or early or not told:
            continue
        over_at, due_ms = call.live_at + call.duration_ms, story.local_ms(told[-1])
        if mode.was_away(due_ms - 1000, due_ms + mode.late_ms):
            continue
        if not -_CLOCKS_MS <= over_at - told[-1] <= mode.late_ms:
            what = f"media was over {over_at - told[-1]} ms after the time that was told"
            yield Violation("clock", what, lines(tale.views[-1].entry, tale.ended))


def ends(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Whoever was told of a call is told of its end, soon where they are there."""
    kept = {call.id: call for call in readings.calls}
    for tale in story.tales.values():
        if not tale.heard:
            continue
        if tale.over is None:
            yield Violation("ends", f"person {tale.who} was never told of the end", lines(tale.heard[-1]))
            continue
        call = kept.get(tale.call)
        if call is None:
            continue
        over_ms = story.local_ms(_over_at(call, readings.users[tale.who]))
        # Who was away, or had nobody to tell them, hears it when that is over.
        from_ms = mode.calm_from(over_ms, _TOLD_MS)
        to_ms = from_ms + _TOLD_MS
        if tale.over.at_ms <= to_ms:
            continue
        if story.was_attached(tale.who, from_ms, to_ms):
            what = f"person {tale.who} was told of the end {tale.over.at_ms - over_ms:.0f} ms late"
            yield Violation("ends", what, lines(tale.heard[-1], tale.over))


def _over_at(call: KeptCall, user: str) -> int:
    """When a call was over for one of its two: for a guest, once media was. Unix ms."""
    seat = next((seat for seat, who in call.users.items() if who == user), "")
    if call.roles.get(seat) == "guest" and call.live_at is not None:
        return min(call.ended_at, call.live_at + call.duration_ms)
    return call.ended_at
