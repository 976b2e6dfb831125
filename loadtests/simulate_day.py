"""A day of the matchmaker: a million people, unevenly over the hours and the sides, through the waiting room of the servers.

    python -m loadtests.simulate_day                        a million arrivals; under a minute
    python -m loadtests.simulate_day --people 100000        the same shape, a tenth of the crowd
    python -m loadtests.simulate_day --from-hour 20 --hours 1

One pool, as the owner of the pool runs it: whoever arrives is tried at once, wishes widen with time, people leave when their
patience is over. Arrivals follow the hours of an evening product (quiet at five, five times as busy at nine in the
evening), two men for each woman, patience exponential. Time is simulated, the work is not: the CPU that each hour took
is that of the matching itself, without Redis. Printed by hour: who came, who met somebody, how long they waited, how
many waited at most, and which share of one core it took.
"""

import argparse
import math
import platform
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from statistics import quantiles

from base.ids import TicketId
from base.policy import Gender, IntentPolicy
from loadtests.matching_crowd import People
from matchmaker.bitsets import BitsetIndex
from matchmaker.pairing import Pair
from matchmaker.ports import Arrived, Departed
from matchmaker.room import WaitingRoom
from matchmaker.scoring import rules_of

HOUR_MS = 3_600_000
_WIDEN_MS = 250
# As many as a worker widens at once; what is left over is done in the next turn.
_WIDENED_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Day:
    """Who comes: so many in 24 hours, men `skew` times as often as women, each waiting `patience_s` in the mean."""

    people: int = 1_000_000
    skew: float = 2.0
    patience_s: float = 60.0
    seed: int = 1

    def per_s(self, hour: float) -> float:
        """How many arrive a second at that hour of the day; a cosine with its peak at nine in the evening."""
        mean = self.people / 86_400
        return mean * (1 + 2 / 3 * math.cos((hour - 21) / 24 * math.tau))


@dataclass(slots=True)
class Hour:
    """What happened in one hour of the day."""

    came: dict[Gender, int] = field(default_factory=lambda: dict.fromkeys(Gender, 0))
    met: dict[Gender, int] = field(default_factory=lambda: dict.fromkeys(Gender, 0))
    waits_s: list[float] = field(default_factory=list)
    most_waiting: int = 0
    cpu_s: float = 0.0

    def row(self, hour: int, seconds: float) -> str:
        """A row of the table. `met` counts those who met somebody in this hour, whenever they came."""
        arrivals = sum(self.came.values())
        waits = quantiles(self.waits_s, n=100) if len(self.waits_s) > 1 else [0.0] * 99
        return (
            f"| {hour:02} | {arrivals / seconds:.1f} | {self.share(Gender.FEMALE):.1%} | {self.share(Gender.MALE):.1%}"
            f" | {waits[49]:.1f} | {waits[89]:.1f} | {waits[98]:.1f} | {self.most_waiting:,}"
            f" | {self.cpu_s / max(1, arrivals) * 1e6:.0f} | {self.cpu_s / seconds:.2%} |"
        )

    def share(self, side: Gender) -> float:
        return self.met[side] / max(1, self.came[side])


HEADER = (
    "| hour | arrivals/s | women who meet somebody | men | p50 wait, s | p90 | p99 | most waiting"
    " | CPU us per arrival | of one core |\n| --- |" + " ---: |" * 9
)


def arrivals(day: Day, begin_ms: int, end_ms: int) -> Iterator[tuple[int, Gender]]:
    """When somebody of which side arrives, by thinning a steady stream of the busiest rate (Lewis and Shedler, 1979)."""
    chance = random.Random(day.seed)
    busiest = max(day.per_s(hour / 4) for hour in range(96))
    women = 1 / (1 + day.skew)
    at_ms = float(begin_ms)
    while (at_ms := at_ms + chance.expovariate(busiest) * 1000) < end_ms:
        if chance.random() * busiest < day.per_s(at_ms / HOUR_MS):
            yield round(at_ms), Gender.FEMALE if chance.random() < women else Gender.MALE


class Evening:
    """The room, its people, and what becomes of them."""

    def __init__(self, day: Day, policy: IntentPolicy) -> None:
        rules = rules_of(policy)
        self._room = WaitingRoom(policy, rules, BitsetIndex(rules.tiers))
        self._people = People(day.seed)
        self._patience = random.Random(day.seed + 1)
        self._patience_s = day.patience_s
        self._numbers = count(1)
        self._leaving: list[tuple[int, TicketId]] = []
        self._matched: set[TicketId] = set()
        self.hours: dict[int, Hour] = {}

    def run(self, comers: Iterator[tuple[int, Gender]], begin_ms: int) -> None:
        """Lets everybody come, wait, meet or leave."""
        turn_ms = begin_ms
        for at_ms, side in comers:
            while turn_ms + _WIDEN_MS <= at_ms:
                turn_ms += _WIDEN_MS
                self._turn(turn_ms)
            self._arrive(at_ms, side)

    def _arrive(self, at_ms: int, side: Gender) -> None:
        # Making somebody up is not the matchmaker's work.
        ticket = self._people.ticket(side, at_ms)
        stays_ms = round(self._patience.expovariate(1 / self._patience_s) * 1000)
        heappush(self._leaving, (at_ms + stays_ms, ticket.ticket_id))
        hour = self._hour(at_ms)
        hour.came[side] += 1
        began = time.thread_time()
        found = self._room.hear(next(self._numbers), Arrived(ticket, at_ms), at_ms)
        if found is not None:
            self._claim(found, at_ms)
        hour.cpu_s += time.thread_time() - began

    def _turn(self, now_ms: int) -> None:
        hour = self._hour(now_ms)
        began = time.thread_time()
        while self._leaving and self._leaving[0][0] <= now_ms:
            _, ticket_id = heappop(self._leaving)
            if ticket_id in self._matched:
                self._matched.discard(ticket_id)
            else:
                self._room.hear(next(self._numbers), Departed(ticket_id), now_ms)
        for found in self._room.widen(now_ms, _WIDENED_AT_ONCE):
            self._claim(found, now_ms)
        hour.cpu_s += time.thread_time() - began
        hour.most_waiting = max(hour.most_waiting, sum(self._room.waiting().values()))

    def _claim(self, found: Pair, now_ms: int) -> None:
        self._room.claimed(found, frozenset(), next(self._numbers), now_ms)
        hour = self._hour(now_ms)
        for ticket in (found.a, found.b):
            self._matched.add(ticket.ticket_id)
            hour.met[ticket.side] += 1
            hour.waits_s.append((now_ms - ticket.queued_at) / 1000)

    def _hour(self, at_ms: int) -> Hour:
        return self.hours.setdefault(at_ms // HOUR_MS, Hour())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1_000_000, help="in 24 hours")
    parser.add_argument("--skew", type=float, default=2.0, help="men for each woman")
    parser.add_argument("--from-hour", type=int, default=0)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    day = Day(options.people, options.skew, seed=options.seed)
    begin_ms, end_ms = options.from_hour * HOUR_MS, (options.from_hour + options.hours) * HOUR_MS
    evening = Evening(day, IntentPolicy())
    evening.run(arrivals(day, begin_ms, end_ms), begin_ms)
    print(
        f"Python {platform.python_version()}; {day.people:,} people a day, {day.skew:g} men for each woman, "
        f"mean patience {day.patience_s:g} s, seed {day.seed}\n\n{HEADER}"
    )
    for hour, seen in sorted(evening.hours.items()):
        print(seen.row(hour % 24, 3600))
    print(f"\nMatching took {sum(hour.cpu_s for hour in evening.hours.values()):,.1f} s of CPU.")


if __name__ == "__main__":
    main()
