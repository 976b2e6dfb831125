"""What pairing costs: the waiting room with its index by bitsets, and beside it the same with a plain scan.

    python -m loadtests.index_bench [--sizes 1000,10000,100000,150000] [--matches 20000] [--repeats 3]

No I/O: the pure core in this process, on one core. Men wait, as many as the row says; then a woman comes, and is paired
with one of them, and another man comes in his place, so that as many wait at the end as at the beginning. Everybody
has one of 43 ages, 8 languages and 4 regions, a random age range, and 40 exclusions (see `loadtests.matching_crowd`),
and is read from what is stored just before, as the servers do; that is not counted. All times are CPU time, which
survives a busy machine, less what it takes to look at the clock; a claim is answered at once, and counts. Each size is
run as often as asked, by turns with the others, and its quickest run is shown.

What an arrival has to do is also counted, in a run of its own (`loadtests.index_counts`): pages and candidates looked
at grow with the crowd until sixteen fit, and not beyond. What time grows after that is the memory's, which is shown by
asking the same question twice: the second time everything it touches is near.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from base.policy import Gender, IntentPolicy
from loadtests.index_counts import Counts, counted
from loadtests.matching_crowd import People
from loadtests.scan_index import ScanIndex
from matchmaker.bitsets import BitsetIndex
from matchmaker.index import Index
from matchmaker.pairing import BEST_OF
from matchmaker.ports import Arrived
from matchmaker.room import WaitingRoom
from matchmaker.scale import Scale
from matchmaker.scoring import Relaxation, rules_of
from matchmaker.ticket import Ticket, decode_ticket, encode_ticket

SEED = 5
POLICY = IntentPolicy()
RULES = rules_of(POLICY)
NOW = 1_700_000_000_000
_SPREAD_MS = 9_000
_ASKED_TWICE = 2_000

IndexOf = Callable[[tuple[Relaxation, ...]], Index]


@dataclass(frozen=True, slots=True)
class Run:
    """One size: CPU microseconds of each arrival, and what they had to do."""

    waiting: int
    matches: int
    latencies_us: Sequence[float]
    fill_us: float
    widen_us: float
    ask_us: float
    """To find candidates for somebody and to weigh them."""
    ask_again_us: float
    """The same at once again, when all that it touches is near."""

    @property
    def arrivals(self) -> int:
        return len(self.latencies_us)

    @property
    def arrival_us(self) -> float:
        return sum(self.latencies_us) / self.arrivals

    @property
    def matches_per_s(self) -> float:
        return self.matches / sum(self.latencies_us) * 1e6

    def percentile(self, percent: int) -> float:
        return quantiles(self.latencies_us, n=100)[percent - 1]


class Bench:
    """A waiting room, people who come, and a clock."""

    def __init__(self, index_of: IndexOf, waiting: int, seed: int = SEED) -> None:
        self._people = People(seed)
        self._waiting = waiting
        self._number = 0
        self.index = index_of(RULES.tiers)
        self.room = WaitingRoom(POLICY, RULES, self.index)
        self.now_ms = NOW + _SPREAD_MS
        self.matches = 0

    def crowd(self) -> list[bytes]:
        """The men who wait, as they are stored; all within the first tier and the longest wait, or nobody is compared."""
        return [
            self.somebody(Gender.MALE, NOW + number * _SPREAD_MS // self._waiting)
            for number in range(self._waiting)
        ]

    def couples(self, count: int) -> list[bytes]:
        """Women and men who come by turns."""
        return [
            self.somebody(side, self.now_ms) for _ in range(count) for side in (Gender.FEMALE, Gender.MALE)
        ]

    def somebody(self, side: Gender, queued_at: int) -> bytes:
        return encode_ticket(self._people.ticket(side, queued_at))

    def arrive(self, ticket: Ticket) -> None:
        """Somebody arrives, and if that makes a pair its claim is answered at once."""
        self._number += 1
        found = self.room.hear(self._number, Arrived(ticket, self.now_ms), self.now_ms)
        if found is not None:
            self.matches += 1
            self.room.claimed(found, frozenset(), self._number, self.now_ms)

    def timed(self, stored: Sequence[bytes], looking_us: float) -> list[float]:
        """CPU microseconds of each of these arrivals."""
        spent = []
        for each in stored:
            ticket = decode_ticket(each)
            began = time.thread_time_ns()
            self.arrive(ticket)
            spent.append((time.thread_time_ns() - began) / 1000 - looking_us)
        return spent

    def asked_twice(self, looking_us: float) -> tuple[float, float]:
        """Microseconds of finding candidates for a woman and weighing them, and of the same again; medians."""
        scale, spent = Scale(RULES, self.index.table), ([0.0], [0.0])
        for _ in range(_ASKED_TWICE):
            ticket = decode_ticket(self.somebody(Gender.FEMALE, self.now_ms))
            for times in spent:
                began = time.thread_time_ns()
                rows = self.index.candidates(ticket, 0, BEST_OF)
                if rows:
                    scale.points(ticket, rows, self.now_ms)
                times.append((time.thread_time_ns() - began) / 1000 - looking_us)
        return median(spent[0]), median(spent[1])


def looking_us() -> float:
    """What it takes to look at the clock twice."""
    spent = []
    for _ in range(2_001):
        began = time.thread_time_ns()
        spent.append((time.thread_time_ns() - began) / 1000)
    return median(spent)


def measure(index_of: IndexOf, waiting: int, matches: int) -> Run:
    """One run with so many waiting men, and so many women who come one after the other."""
    bench, looking = Bench(index_of, waiting), looking_us()
    crowd, couples = bench.crowd(), bench.couples(matches)
    gc.collect()
    # As the servers do: what is here stays, and is not to be walked over again and again.
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)
    try:
        fill = bench.timed(crowd, looking)
        bench.matches = 0
        latencies = bench.timed(couples, looking)
        met = bench.matches
        asked, again = bench.asked_twice(looking)
        left = sum(bench.room.waiting().values())
        began = time.thread_time_ns()
        bench.room.widen(bench.now_ms + 10_000, left)
        widen_us = (time.thread_time_ns() - began) / 1000 / left
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    return Run(waiting, met, latencies, sum(fill) / waiting, widen_us, asked, again)


def count(waiting: int, matches: int) -> Counts:
    """What the arrivals of such a run have to do, one by one."""
    bench = Bench(BitsetIndex, waiting)
    for each in bench.crowd():
        bench.arrive(decode_ticket(each))
    with counted() as counts:
        for each in bench.couples(matches):
            bench.arrive(decode_ticket(each))
            counts.next()
    return counts


def bytes_per_ticket(tickets: int) -> tuple[float, float]:
    """What a waiting ticket takes in its pool's owner with all that is kept about it, and what it took as it was read."""
    bench = Bench(BitsetIndex, tickets)
    crowd = bench.crowd()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    read = [decode_ticket(each) for each in crowd]
    made, _ = tracemalloc.get_traced_memory()
    del read
    empty, _ = tracemalloc.get_traced_memory()
    for each in crowd:
        bench.arrive(decode_ticket(each))
    filled, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (filled - empty) / tickets, (made - before) / tickets


def times_table(runs: Sequence[Run]) -> str:
    """How long the runs took, as Markdown."""
    lines = [
        "| waiting | matches/s | arrivals/s | us an arrival | p50 | p99 | us to ask | to ask again | us to fill | to widen |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {run.waiting:,} | {run.matches_per_s:,.0f} | {1e6 / run.arrival_us:,.0f} | {run.arrival_us:.1f}"
        f" | {run.percentile(50):.1f} | {run.percentile(99):.1f} | {run.ask_us:.1f} | {run.ask_again_us:.1f}"
        f" | {run.fill_us:.1f} | {run.widen_us:.1f} |"
        for run in runs
    ]
    return "\n".join(lines)


def counts_table(counts: Sequence[tuple[int, Counts]]) -> str:
    """What the arrivals of the runs did, as Markdown."""
    lines = [
        "| waiting | pages looked at, mean | p99 | most | candidates weighed, mean | p99 | most"
        " | exclusions read, mean | p99 | most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {waiting:,} | {each.row()} |" for waiting, each in counts]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=_numbers, default=[1_000, 10_000, 100_000, 150_000])
    parser.add_argument("--matches", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan-sizes", type=_numbers, default=[1_000, 5_000])
    parser.add_argument("--scan-matches", type=int, default=500)
    options = parser.parse_args()
    # At most as many women as men wait, or the last ones meet a crowd that is no longer what the row says.
    matches = {size: min(size, options.matches) for size in options.sizes}
    print("What an arrival has to do for whom somebody of the other side waits:\n")
    print(counts_table([(size, count(size, matches[size])) for size in options.sizes]), flush=True)
    runs: dict[int, Run] = {}
    for _ in range(options.repeats):
        for size in options.sizes:
            run = measure(BitsetIndex, size, matches[size])
            if size not in runs or run.arrival_us < runs[size].arrival_us:
                runs[size] = run
    print("\nCPU time, by bitsets:\n")
    print(times_table([runs[size] for size in options.sizes]), flush=True)
    print("\nThe same people and as many matches with either, in one run:\n")
    for size in options.scan_sizes:
        bitsets = measure(BitsetIndex, size, options.scan_matches)
        scan = measure(ScanIndex, size, options.scan_matches)
        print(
            f"{size:,} waiting: {bitsets.arrival_us:.1f} us CPU an arrival by bitsets, {scan.arrival_us:.1f} by a scan:"
            f" {scan.arrival_us / bitsets.arrival_us:.1f} times"
        )
    kept, read = bytes_per_ticket(5_000)
    print(f"\n{kept:.0f} bytes a waiting ticket with all that is kept about it; {read:.0f} as it is read")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    main()
