"""What pairing costs: the waiting room with its index by bitsets, and beside it the same with a plain scan.

    python -m loadtests.index_bench [--sizes 1000,10000,100000,150000] [--matches 20000] [--scan-sizes 1000,5000]

No I/O: the pure core in this process, on one core. Men wait, as many as the row says; then a woman comes, and is paired
with one of them, and another man comes in his place, so that as many wait at the end as at the beginning. Everybody
has one of 43 ages, 8 languages and 4 regions, a random age range, and 40 exclusions (see `loadtests.matching_crowd`).
All times are CPU time, which survives a busy machine; a claim is answered at once, and counts.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from base.policy import Gender, IntentPolicy
from loadtests.matching_crowd import People
from loadtests.scan_index import ScanIndex
from matchmaker.bitsets import BitsetIndex
from matchmaker.index import Index
from matchmaker.ports import Arrived
from matchmaker.room import WaitingRoom
from matchmaker.scoring import Relaxation, rules_of
from matchmaker.ticket import Ticket

SEED = 5
POLICY = IntentPolicy()
RULES = rules_of(POLICY)
NOW = 1_700_000_000_000
_SPREAD_MS = 9_000

IndexOf = Callable[[tuple[Relaxation, ...]], Index]


@dataclass(frozen=True, slots=True)
class Run:
    """One size: CPU seconds, and CPU microseconds of each arrival."""

    waiting: int
    matches: int
    arrivals: int
    cpu_s: float
    latencies_us: Sequence[float]
    fill_us: float
    widen_us: float

    @property
    def matches_per_s(self) -> float:
        return self.matches / self.cpu_s

    @property
    def arrival_us(self) -> float:
        return self.cpu_s / self.arrivals * 1e6

    def percentile(self, percent: int) -> float:
        return quantiles(self.latencies_us, n=100)[percent - 1]


class _Bench:
    def __init__(self, index_of: IndexOf) -> None:
        self.room = WaitingRoom(POLICY, RULES, index_of(RULES.tiers))
        self.number = 0
        self.matches = 0

    def arrive(self, ticket: Ticket, now_ms: int) -> None:
        """Somebody arrives, and if that makes a pair its claim is answered at once."""
        self.number += 1
        found = self.room.hear(self.number, Arrived(ticket, now_ms), now_ms)
        if found is not None:
            self.matches += 1
            self.room.claimed(found, frozenset(), self.number, now_ms)


def measure(index_of: IndexOf, waiting: int, matches: int, seed: int = SEED) -> Run:
    """One run with so many waiting men, and so many women who come one after the other."""
    people = People(seed)
    # All within the first tier and the longest wait: whoever is older is served without being compared.
    crowd = [people.ticket(Gender.MALE, NOW + number * _SPREAD_MS // waiting) for number in range(waiting)]
    now_ms = NOW + _SPREAD_MS
    couples = [
        (people.ticket(Gender.FEMALE, now_ms), people.ticket(Gender.MALE, now_ms)) for _ in range(matches)
    ]
    bench = _Bench(index_of)
    gc.collect()
    # As the servers do: what is here stays, and is not to be walked over again and again.
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)
    try:
        began = time.process_time()
        for ticket in crowd:
            bench.arrive(ticket, now_ms)
        fill_us = (time.process_time() - began) / waiting * 1e6
        bench.matches = 0
        latencies: list[float] = []
        began = time.process_time()
        for woman, man in couples:
            for ticket in (woman, man):
                started = time.thread_time_ns()
                bench.arrive(ticket, now_ms)
                latencies.append((time.thread_time_ns() - started) / 1000)
        cpu_s = time.process_time() - began
        left = sum(bench.room.waiting().values())
        began = time.process_time()
        bench.room.widen(now_ms + 10_000, left)
        widen_us = (time.process_time() - began) / left * 1e6
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    return Run(waiting, bench.matches, 2 * matches, cpu_s, latencies, fill_us, widen_us)


def bytes_per_ticket(tickets: int, seed: int = SEED) -> tuple[float, float]:
    """What a waiting ticket takes: the ticket itself with its exclusions, and the index's share of it."""
    people = People(seed)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    crowd = [people.ticket(Gender.MALE, NOW + number) for number in range(tickets)]
    made, _ = tracemalloc.get_traced_memory()
    index = BitsetIndex(RULES.tiers)
    for ticket in crowd:
        index.add(ticket, 0)
    filled, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (made - before) / tickets, (filled - made) / tickets


def table(runs: Sequence[Run]) -> str:
    """The runs as Markdown."""
    lines = [
        "| waiting | matches/s | arrivals/s | CPU us an arrival | p50 us | p99 us | CPU us to fill | to widen and try |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {run.waiting:,} | {run.matches_per_s:,.0f} | {run.arrivals / run.cpu_s:,.0f} | {run.arrival_us:.1f}"
        f" | {run.percentile(50):.1f} | {run.percentile(99):.1f} | {run.fill_us:.1f} | {run.widen_us:.1f} |"
        for run in runs
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=_numbers, default=[1_000, 10_000, 100_000, 150_000])
    parser.add_argument("--matches", type=int, default=20_000)
    parser.add_argument("--scan-sizes", type=_numbers, default=[1_000, 5_000])
    parser.add_argument("--scan-matches", type=int, default=500)
    options = parser.parse_args()
    print("Bitsets:")
    # At most as many women as men wait, or the last ones meet a crowd that is no longer what the row says.
    print(table([measure(BitsetIndex, size, min(size, options.matches)) for size in options.sizes]))
    print("\nThe same people and as many matches with either, in one run:\n")
    for size in options.scan_sizes:
        bitsets = measure(BitsetIndex, size, options.scan_matches)
        scan = measure(ScanIndex, size, options.scan_matches)
        print(
            f"{size:,} waiting: {bitsets.arrival_us:.1f} us CPU an arrival by bitsets, {scan.arrival_us:.1f} by a scan:"
            f" {scan.arrival_us / bitsets.arrival_us:.1f} times"
        )
    ticket, share = bytes_per_ticket(20_000)
    print(f"\n{share:.0f} bytes of index a ticket, beside {ticket:.0f} of the ticket with its 40 exclusions")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    main()
