"""Greedy on arrival or in windows: a simulated evening, with the pairing of the servers and people who lose patience.

    python -m loadtests.simulate_matching [--minutes 20] [--seed 1] [--svg docs/images/matching-greedy-or-windows.svg]

Two sides arrive at random, one more often than the other, each with an exponential patience. Greedy is the waiting
room as it runs in production: whoever arrives is tried at once, best of 16 by score. With windows the same people are
collected for some seconds, and then all compatible pairs are taken from the best fit to the worst. Wishes widen by the
same tiers in both. Printed for each: the share of the scarce side that meets somebody, how long those who do waited,
and how well they fit, in points (a year of age is one point, a shared region eight).
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from statistics import fmean, quantiles
from xml.sax.saxutils import escape

from base.ids import TicketId
from base.policy import Gender, IntentPolicy
from loadtests.matching_crowd import People
from matchmaker.bitsets import BitsetIndex
from matchmaker.ports import Arrived, Departed
from matchmaker.room import WaitingRoom
from matchmaker.scoring import POINT, compatible, fit, rules_of, tier_after
from matchmaker.ticket import Ticket

POLICY = IntentPolicy()
RULES = rules_of(POLICY)
_WIDEN_MS = 250


@dataclass(frozen=True, slots=True)
class Evening:
    """Who comes: women so often, men `skew` times as often, each waiting `patience_s` in the mean."""

    minutes: float = 20
    women_per_s: float = 1.0
    skew: float = 3.0
    patience_s: float = 60
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What became of the women who came after the crowd had gathered and early enough to be served."""

    name: str
    skew: float
    came: int = 0
    waits_s: list[float] = field(default_factory=list)
    fits: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        return len(self.waits_s) / max(1, self.came)

    @property
    def mean_wait_s(self) -> float:
        return fmean(self.waits_s or [0.0])

    @property
    def p90_wait_s(self) -> float:
        return quantiles(self.waits_s, n=10)[8] if len(self.waits_s) > 1 else self.mean_wait_s

    @property
    def mean_fit(self) -> float:
        return fmean(self.fits or [0.0])

    def row(self) -> str:
        return (
            f"| {self.name} | {self.skew:g} : 1 | {self.share:.1%} | {self.mean_wait_s:.1f} | {self.p90_wait_s:.1f}"
            f" | {self.mean_fit:.1f} |"
        )


HEADER = (
    "| how | men : women | women who meet somebody | mean wait, s | p90 wait, s | mean fit, points |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True, slots=True)
class Guest:
    """A ticket and the moment at which its person has had enough."""

    ticket: Ticket
    leaves_at: int


def guests(evening: Evening) -> list[Guest]:
    """Everybody who comes, in order."""
    people, chance = People(evening.seed), random.Random(evening.seed)
    end_ms = evening.minutes * 60_000
    come = []
    for side, per_s in (
        (Gender.FEMALE, evening.women_per_s),
        (Gender.MALE, evening.women_per_s * evening.skew),
    ):
        at_ms = 0.0
        while (at_ms := at_ms + chance.expovariate(per_s) * 1000) < end_ms:
            stays_ms = chance.expovariate(1 / evening.patience_s) * 1000
            come.append(Guest(people.ticket(side, round(at_ms)), round(at_ms + stays_ms)))
    return sorted(come, key=lambda guest: guest.ticket.seniority)


class _Record:
    """Counts the women of the middle of the evening."""

    def __init__(self, name: str, evening: Evening, crowd: Sequence[Guest]) -> None:
        self.outcome = Outcome(name, evening.skew)
        warm_ms, end_ms = evening.patience_s * 2_000, (evening.minutes * 60 - evening.patience_s * 2) * 1000
        self._counted = {
            guest.ticket.ticket_id
            for guest in crowd
            if guest.ticket.side is Gender.FEMALE and warm_ms <= guest.ticket.queued_at <= end_ms
        }
        self.outcome.came = len(self._counted)

    def matched(self, one: Ticket, other: Ticket, now_ms: int) -> None:
        woman, man = (one, other) if one.side is Gender.FEMALE else (other, one)
        if woman.ticket_id in self._counted:
            self.outcome.waits_s.append((now_ms - woman.queued_at) / 1000)
            self.outcome.fits.append(fit(woman, man, RULES) / POINT)


def greedy(evening: Evening) -> Outcome:
    """The waiting room of the servers."""
    crowd = guests(evening)
    record = _Record("greedy, best of 16", evening, crowd)
    room = WaitingRoom(POLICY, RULES, BitsetIndex(RULES.tiers))
    gone: set[TicketId] = set()
    numbers = count(1)
    for now_ms, what in _happenings(crowd, _WIDEN_MS, evening):
        found = []
        if isinstance(what, Ticket):
            found = [room.hear(next(numbers), Arrived(what, now_ms), now_ms)]
        elif what is not None:
            if what not in gone:
                room.hear(next(numbers), Departed(what), now_ms)
        else:
            found += room.widen(now_ms, len(crowd))
        for pair in found:
            if pair is not None:
                gone |= {pair.a.ticket_id, pair.b.ticket_id}
                room.claimed(pair, frozenset(), next(numbers), now_ms)
                record.matched(pair.a, pair.b, now_ms)
    return record.outcome


def windows(evening: Evening, window_s: float) -> Outcome:
    """Everybody who waits at the end of a window is paired, the best fits first."""
    crowd = guests(evening)
    record = _Record(f"windows of {window_s:g} s", evening, crowd)
    waiting: dict[Gender, dict[TicketId, Ticket]] = {side: {} for side in Gender}
    for now_ms, what in _happenings(crowd, round(window_s * 1000), evening):
        if isinstance(what, Ticket):
            waiting[what.side][what.ticket_id] = what
        elif what is not None:
            for side in Gender:
                waiting[side].pop(what, None)
        else:
            for woman, man in _best_pairs(waiting, now_ms):
                del waiting[Gender.FEMALE][woman.ticket_id], waiting[Gender.MALE][man.ticket_id]
                record.matched(woman, man, now_ms)
    return record.outcome


def _best_pairs(
    waiting: dict[Gender, dict[TicketId, Ticket]], now_ms: int
) -> Iterator[tuple[Ticket, Ticket]]:
    def tier(ticket: Ticket) -> int:
        return tier_after(POLICY, now_ms - ticket.queued_at)

    fitting = [
        (fit(woman, man, RULES), woman, man)
        for woman in waiting[Gender.FEMALE].values()
        for man in waiting[Gender.MALE].values()
        if compatible(woman, RULES.tiers[tier(woman)], man, RULES.tiers[tier(man)])
    ]
    taken: set[TicketId] = set()
    for _, woman, man in sorted(fitting, key=lambda each: (-each[0], each[1].seniority, each[2].seniority)):
        if not taken & {woman.ticket_id, man.ticket_id}:
            taken |= {woman.ticket_id, man.ticket_id}
            yield woman, man


def _happenings(
    crowd: Sequence[Guest], every_ms: int, evening: Evening
) -> Iterator[tuple[int, Ticket | TicketId | None]]:
    """Arrivals (a ticket), departures (its id) and ticks (nothing), in order of time."""
    queue: list[tuple[int, int, Ticket | TicketId | None]] = []
    numbers = count()
    for guest in crowd:
        heappush(queue, (guest.ticket.queued_at, next(numbers), guest.ticket))
        heappush(queue, (guest.leaves_at, next(numbers), guest.ticket.ticket_id))
    for at_ms in range(every_ms, round(evening.minutes * 60_000), every_ms):
        heappush(queue, (at_ms, next(numbers), None))
    while queue:
        at_ms, _, what = heappop(queue)
        yield at_ms, what


# --- the plot ----------------------------------------------------------------------------------------------------

_COLOURS = ("#1d4ed8", "#93b4f5", "#c3a6e8", "#e0b6c9", "#cfcfd4")
_WIDTH, _HEIGHT, _PANEL, _TOP, _BASE = 900, 320, 280, 70, 250


def plot(outcomes: Sequence[Outcome]) -> str:
    """Three panels of bars as SVG: share matched, mean wait, fit; grouped by skew, a colour for each way."""
    names = list(dict.fromkeys(outcome.name for outcome in outcomes))
    panels = (
        ("Share of the scarce side matched, %", [outcome.share * 100 for outcome in outcomes]),
        ("Mean wait of those matched, s", [outcome.mean_wait_s for outcome in outcomes]),
        ("Mean fit, points", [outcome.mean_fit for outcome in outcomes]),
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        "<title>Greedy matching beside matching in windows</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for number, name in enumerate(names):
        x = 20 + number * 150
        parts.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{_COLOURS[number]}"/>')
        parts.append(f'<text x="{x + 18}" y="24">{escape(name)}</text>')
    for number, (title, values) in enumerate(panels):
        parts += _panel(20 + number * (_PANEL + 15), title, outcomes, values)
    return "\n".join([*parts, "</svg>", ""])


def _panel(left: int, title: str, outcomes: Sequence[Outcome], values: Sequence[float]) -> Iterator[str]:
    names = list(dict.fromkeys(outcome.name for outcome in outcomes))
    skews = list(dict.fromkeys(outcome.skew for outcome in outcomes))
    low, high = min(0.0, *values), max(0.0, *values) or 1.0
    group = _PANEL / len(skews)
    bar = (group - 14) / len(names)

    def y_of(value: float) -> float:
        return _BASE - (value - low) / (high - low) * (_BASE - _TOP)

    yield f'<text x="{left}" y="52" font-weight="600">{escape(title)}</text>'
    yield f'<line x1="{left}" x2="{left + _PANEL}" y1="{y_of(0):.1f}" y2="{y_of(0):.1f}" stroke="#999"/>'
    for outcome, value in zip(outcomes, values, strict=True):
        number = names.index(outcome.name)
        x = left + skews.index(outcome.skew) * group + number * bar
        top, bottom = sorted((y_of(value), y_of(0)))
        yield (
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{bar - 2:.1f}" height="{max(1.0, bottom - top):.1f}"'
            f' fill="{_COLOURS[number]}"/>'
        )
        yield (
            f'<text x="{x + bar / 2 - 1:.1f}" y="{top - 4:.1f}" text-anchor="middle" font-size="9">'
            f"{value:.0f}</text>"
        )
    for number, skew in enumerate(skews):
        x = left + number * group + (group - 14) / 2
        yield f'<text x="{x:.1f}" y="{_BASE + 22}" text-anchor="middle">{skew:g} : 1</text>'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    outcomes = []
    print(HEADER)
    for skew in (1.0, 1.5, 3.0):
        evening = Evening(minutes=options.minutes, skew=skew, seed=options.seed)
        for outcome in (greedy(evening), *(windows(evening, window_s) for window_s in (5.0, 15.0, 30.0))):
            outcomes.append(outcome)
            print(outcome.row(), flush=True)
    if options.svg is not None:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(plot(outcomes))


if __name__ == "__main__":
    main()
