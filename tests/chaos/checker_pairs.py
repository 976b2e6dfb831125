"""What a call promises to its two as a pair: the same views, told to both in time, a clock that only both put forward, and
an end that is an end once it was said; history keeps what they had.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tests.chaos.checker_story import Ask, Mode, Story, Tale, Violation, lines
from tests.chaos.readings import KeptCall, Readings
from tests.chaos.swarm_world import CALL_S

_SAME: Final = ("state", "video_allowed", "pending", "connected", "ends_at", "deadline_at")
_BOTH_TOLD_MS: Final = 3_000.0
"""A hub that dies with its last words costs the other side a second and a half; the machine may need as much again."""
_END_MS: Final = 1_000.0
_CLOCKS_MS: Final = 250
"""Two nodes may differ by this: each knows the server's clock to half of the 250 ms that asking for it may take."""
_ENDING: Final = frozenset(("call.hangup", "call.decline", "safety.block"))
_NEVER_LIVE: Final = frozenset(("declined", "no_answer", "cancelled", "connect_timeout"))


def same_views(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A version is one state of affairs, whoever of the two is told it."""
    for first, second in _pairs(story):
        known = {view.version: view for view in first.views}
        for view in second.views:
            other = known.get(view.version)
            if other is None or "ended" in (view.state, other.state):
                continue  # to a guest the end comes before the decision
            if mode.was_away(*sorted((view.entry.at_ms, other.entry.at_ms))):
                continue
            differ = [name for name in _SAME if view.data.get(name) != other.data.get(name)]
            if differ:
                what = f"version {view.version} is not the same for both: {', '.join(differ)}"
                yield Violation("same views", what, lines(other.entry, view.entry))


def both_told(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """What one of the two is told the other is told soon, if there."""
    for pair in _pairs(story):
        for tale, other in (pair, pair[::-1]):
            for view in tale.views:
                from_ms = mode.calm_from(view.entry.at_ms, _BOTH_TOLD_MS)
                to_ms = from_ms + _BOTH_TOLD_MS
                if not story.was_attached(other.who, from_ms, to_ms):
                    continue
                if not _knows(other, view.version, to_ms):
                    what = f"person {other.who} was not told version {view.version} of {tale.call}"
                    before = [each.entry for each in other.views if each.version < view.version]
                    yield Violation("both told", what, lines(*before[-1:], view.entry))


def _knows(tale: Tale, version: int, until_ms: float) -> bool:
    if tale.over is not None and tale.over.at_ms <= until_ms:
        return True
    return any(view.version >= version and view.entry.at_ms <= until_ms for view in tale.views)


def clock_moves(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A call's clock is never put back, and forward only as often as both have asked for it."""
    for tales in story.calls().values():
        asks = [ask for tale in tales for ask in tale.asks if _wants_more(ask)]
        for tale in tales:
            moved = 0
            timed = [view for view in tale.views if view.data["ends_at"]]
            for before, after in pairwise(timed):
                if mode.lost(before.entry.at_ms, after.entry.at_ms) or after.version < before.version:
                    continue
                if after.data["ends_at"] < before.data["ends_at"]:
                    yield Violation("clock", "it was put back", lines(before.entry, after.entry))
                if after.data["ends_at"] <= before.data["ends_at"]:
                    continue
                moved += 1
                agreed = min(
                    sum(ask.sent.who == one.who and ask.sent.number < after.entry.number for ask in asks)
                    for one in tales
                )
                if len(tales) == 2 and agreed < moved:
                    what = "it was put forward, and one of the two had not agreed"
                    yield Violation("clock", what, lines(before.entry, after.entry))


def _wants_more(ask: Ask) -> bool:
    if not ask.may_be_done:
        return False
    return ask.type == "call.extend" or (ask.type == "call.extend.reply" and ask.sent.body["accept"])


def lengths(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A clock runs for as long as the intent says from the moment at which the call went live, and is put forward by as much."""
    kept = {call.id: call for call in readings.calls}
    for tale in story.tales.values():
        call = kept.get(tale.call)
        if call is None or call.live_at is None or mode.lost(tale.began.at_ms, tale.heard[-1].at_ms):
            continue
        length_ms = CALL_S[call.intent] * 1000
        for view in tale.views:
            runs_ms = (view.data["ends_at"] or 0) - call.live_at
            if view.data["ends_at"] and all(
                abs(runs_ms - many * length_ms) > _CLOCKS_MS for many in (1, 2, 3)
            ):
                what = f"a clock of {length_ms:.0f} ms, twice put forward at most, runs for {runs_ms} ms"
                yield Violation("clock", what, lines(view.entry))
                break


def roles(story: Story, readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """The woman of a pair decides where the intent says so, and whoever is on seat `a` makes the first offer."""
    for tale in story.tales.values():
        found = next((entry for entry in tale.heard if entry.type == "match.found"), None)
        if found is None:
            continue
        expected = "mutual"
        if found.body["intent"] == "dating":
            expected = "controller" if readings.genders[tale.who] == "female" else "guest"
        if tale.role != expected or found.body["offerer"] != (tale.seat == "a"):
            what = f"person {tale.who} is {tale.role} on seat {tale.seat}, not {expected}"
            yield Violation("roles", what, lines(found))


def noes(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Who has hung up, declined or blocked is out of it for good: by history then, and by every later snapshot."""
    kept = {call.id: call for call in readings.calls}
    for tale in story.tales.values():
        for view in tale.views:
            is_after = tale.ended is not None and view.entry.number > tale.ended.number
            if tale.ended is None or mode.told_alone(tale.ended, view.entry):
                continue
            if is_after and view.in_snapshot and view.state != "ended":
                yield Violation("noes", f"{tale.call} is there again", lines(tale.ended, view.entry))
        call = kept.get(tale.call)
        if call is None:
            continue
        for ask in tale.asks:
            if ask.type not in _ENDING or not ask.done or ask.reply is None:
                continue
            if mode.was_away(ask.sent.at_ms, ask.reply.at_ms + _END_MS):
                continue  # said where it could not be stored, it binds there; history may have another moment
            late_ms = _media_over(call) - story.server_ms(ask.reply.at_ms)
            if late_ms > _END_MS:
                what = f"{ask.type} was answered, and {tale.call} was over {late_ms:.0f} ms later"
                yield Violation("noes", what, lines(ask.sent, ask.reply))


def kept_calls(story: Story, readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """What history has of a call agrees with itself, and with there having been one."""
    whos = {user: who for who, user in enumerate(readings.users)}
    for call in readings.calls:
        heard = [tale for tale in story.calls().get(call.id, ()) if tale.heard]
        if call.live_at is not None and not heard and any(user in whos for user in call.users.values()):
            yield Violation("history", f"{call.id} went live, and nobody was ever told of it")
        for wrong in _contradictions(call):
            yield Violation("history", f"{call.id}: {wrong}", lines(*(tale.heard[-1] for tale in heard)))


def _contradictions(call: KeptCall) -> Iterator[str]:
    if sorted(call.users) != ["a", "b"] or len(set(call.users.values())) != 2:
        yield f"its people are {dict(call.users)}"
    if call.live_at is None and (call.duration_ms or call.connected or call.reason == "completed"):
        yield f"it never went live, and ended as {call.reason} after {call.duration_ms} ms"
    if call.live_at is not None and call.reason in _NEVER_LIVE:
        yield f"it went live, and ended as {call.reason}"
    began = call.created_at if call.live_at is None else call.live_at
    if _media_over(call) > call.ended_at + _CLOCKS_MS or began + _CLOCKS_MS < call.created_at:
        yield f"made at {call.created_at}, live at {call.live_at} for {call.duration_ms}, ended at {call.ended_at}"
    if call.reason == "connected" and not call.connected:
        yield "it ended as connected, and is not"


def _media_over(call: KeptCall) -> int:
    """When nobody was to hear the other any more. Unix ms."""
    return call.ended_at if call.live_at is None else call.live_at + call.duration_ms


def _pairs(story: Story) -> Iterator[tuple[Tale, Tale]]:
    """The tales of both, where both count versions alike: a wish that is secret is a version less for the other."""
    for tales in story.calls().values():
        told = [tale for tale in tales if tale.heard]
        if len(told) == 2 and {tale.role for tale in told} == {"controller", "guest"}:
            yield told[0], told[1]
