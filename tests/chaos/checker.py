"""The checker: whether a history keeps every promise, or which lines of it show that one was broken.

Pure. What it is sure of it says; where a client cannot know (a message under way, two things said at once) it takes the
server's side. `docs/protocol.md`, `docs/states.md` and `docs/consent.md` are what it holds the servers to.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.chaos import (
    checker_calls,
    checker_chat,
    checker_pairs,
    checker_queue,
    checker_relays,
    checker_returns,
    checker_sessions,
    checker_video,
)
from tests.chaos.checker_story import Mode, Story, Violation, lines
from tests.chaos.history import History
from tests.chaos.readings import Readings

__all__ = ["Mode", "Verdict", "Violation", "check"]

Rule = Callable[[Story, Readings, Mode], Iterator[Violation]]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found."""

    violations: Sequence[Violation]

    @property
    def ok(self) -> bool:
        return not self.violations

    def report(self) -> str:
        """For people: how often each rule was broken, and the first cases with their lines."""
        if self.ok:
            return "every promise was kept"
        counts = Counter(violation.rule for violation in self.violations)
        summary = ", ".join(f"{rule}: {count}" for rule, count in counts.most_common())
        # Of each rule some, so that the loudest does not hide the others.
        seen: Counter[str] = Counter()
        shown = []
        for violation in self.violations:
            seen[violation.rule] += 1
            if seen[violation.rule] <= max(2, _SHOWN // len(counts)):
                shown.append(violation.as_text())
        return "\n".join([f"{len(self.violations)} violations ({summary})", *shown])


def home(story: Story, readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """When all is quiet nobody is in a queue or a call, and Redis remembers of neither."""
    for entry in story.history:
        if entry.kind == "note" and entry.data.get("what") == "did not come home":
            yield Violation("home", f"person {entry.who} could not leave", lines(entry))
    for who in range(len(readings.users)):
        snapshot = readings.snapshots.get(who)
        if snapshot is None:
            yield Violation("home", f"person {who} cannot sign in any more")
        elif snapshot.get("ticket") or snapshot.get("call"):
            yield Violation(
                "home", f"person {who} is still in {snapshot.get('ticket') or snapshot.get('call')}"
            )
    for leftover in readings.leftovers:
        yield Violation("home", f"left in Redis: {leftover}")


def sound(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """The history is whole, and the people did what their scripts say."""
    if story.history.overflowed:
        yield Violation("sound", "the history was full: what came later is not judged")
    for entry in story.history:
        if entry.kind == "note" and entry.data.get("what") == "a bug of the swarm":
            yield Violation("sound", "a script failed", lines(entry))


RULES: Sequence[Rule] = (
    sound,
    checker_sessions.numbers,
    checker_sessions.kinds,
    checker_sessions.replies,
    checker_sessions.closes,
    checker_sessions.refusals,
    checker_queue.places,
    checker_calls.one_at_a_time,
    checker_calls.shown,
    checker_calls.states,
    checker_calls.silence,
    checker_calls.two_sides,
    checker_calls.deadlines,
    checker_calls.clock,
    checker_calls.ends,
    checker_pairs.same_views,
    checker_pairs.both_told,
    checker_pairs.clock_moves,
    checker_pairs.lengths,
    checker_pairs.roles,
    checker_pairs.noes,
    checker_pairs.kept_calls,
    checker_relays.relays,
    checker_relays.early,
    checker_returns.seniority,
    checker_returns.requeued,
    checker_returns.pauses,
    checker_video.consent,
    checker_video.taken_back,
    checker_chat.connections,
    checker_chat.wishes,
    checker_chat.chats,
    checker_chat.blocks,
    home,
)


def check(history: History, readings: Readings, mode: Mode | None = None) -> Verdict:
    """Judges a run by what was heard in it and by what was left of it."""
    story = Story(history)
    mode = mode or Mode()
    # What came late because we were slow to listen is nobody's fault.
    mode = replace(mode, away=(*mode.away, *story.slow))
    return Verdict([violation for rule in RULES for violation in rule(story, readings, mode)])
